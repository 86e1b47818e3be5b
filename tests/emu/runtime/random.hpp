// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace lora_emu {

/// Small and fast, and the same everywhere: it is drawn from at every switch of threads.
class Random {
 public:
  explicit Random(std::uint64_t seed = 1) : state_(seed * 2 + 1) {
    for (int i = 0; i < 4; ++i) next();
  }

  /// A number below `count`, which is less than 2^32.
  std::size_t below(std::size_t count) { return (next() * count) >> 32; }

 private:
  std::uint64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ ^ (state_ >> 29)) >> 32;
  }

  std::uint64_t state_;
};

}  // namespace lora_emu
