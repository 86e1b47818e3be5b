// SPDX-License-Identifier: MIT
#include "gpu/data.hpp"

namespace lora_bench {

Tensor<float> random(lora::Shape shape, std::uint64_t seed) {
  return draw_and_repeat<float>(
      shape, [&](std::span<float> values) { lora::PhiloxGenerator(seed).normal(values, 0, 1); });
}

Trained random_trained(lora::Shape shape, std::uint64_t seed) {
  Trained p{random(shape, seed), {random(shape, seed + 1000), random(shape, seed + 2000)}};
  // The second moment is a mean of squares, and none of them is tiny after many steps.
  for (float& v : p.state.v.span()) v = 0.5f + v * v;
  return p;
}

}  // namespace lora_bench
