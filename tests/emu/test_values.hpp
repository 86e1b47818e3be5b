// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <lora_emu/control.hpp>

#include "support/catch.hpp"

namespace lora_emu_test {

/// Runs a test body under several orders of threads; a failure names the seed.
template <class Body>
void for_each_seed(const Body& body) {
  const std::uint64_t kept = lora_emu::seed();
  for (std::uint64_t seed = kept; seed < kept + 3; ++seed) {
    INFO("LORA_EMU_SEED=" << seed);
    lora_emu::set_seed(seed);
    body();
  }
  lora_emu::set_seed(kept);
}

/// Numbers from -3 to 3: sums of their products are exact in any order.
inline std::vector<float> small_integers(std::size_t count, unsigned salt) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>((i * 2654435761u + salt) / 7 % 7) - 3.0f;
  }
  return values;
}

}  // namespace lora_emu_test
