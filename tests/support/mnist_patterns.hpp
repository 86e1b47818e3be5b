// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/data/mnist.hpp>

#include "support/tensors.hpp"

namespace lora_test {

/// Noise with a pattern for each class: enough to train on for a few batches.
inline lora::LabeledImages patterns(index_t count, std::uint64_t seed) {
  lora::LabeledImages set{Tensor<std::uint8_t>({count, 784}), Tensor<std::int32_t>({count})};
  Tensor<float> noise({count, 784});
  lora::PhiloxGenerator(seed).uniform(noise.span(), 0, 100);
  for (index_t i = 0; i < count; ++i) {
    set.labels[i] = static_cast<std::int32_t>(i % 10);
    for (index_t k = 0; k < 784; ++k) {
      const bool lit = k / 79 == i % 10;
      set.images(i, k) = static_cast<std::uint8_t>(noise(i, k) + (lit ? 150.0f : 0.0f));
    }
  }
  return set;
}

/// 40 images a digit to train on, 10 to test on.
inline lora::Mnist pattern_set() { return {patterns(400, 1), patterns(100, 2), "patterns"}; }

}  // namespace lora_test
