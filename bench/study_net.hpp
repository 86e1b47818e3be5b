// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>

#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

namespace lora_bench {

/// 784-1000-1500-1300-10 with ReLU between.
inline lora::Sequential<float> study_net() {
  lora::TorchGenerator generator(0);
  lora::Sequential<float> net;
  const lora::index_t sizes[] = {784, 1000, 1500, 1300, 10};
  for (std::size_t i = 0; i < 4; ++i) {
    net.add("linear" + std::to_string(i + 1),
            lora::Linear<float>(sizes[i], sizes[i + 1], generator));
    if (i < 3) net.add("relu" + std::to_string(i + 1), lora::ReLU<float>());
  }
  return net;
}

/// The study's adapter.
inline const lora::LoRAConfig kStudyAdapter{
    .r = 1, .lora_alpha = 1, .init_lora_weights = lora::LoRAInit::standard_normal};

}  // namespace lora_bench
