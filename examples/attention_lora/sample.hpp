// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/nn/module.hpp>

namespace attention_lora {

/// `count` characters that the model writes from the beginning of a line, each drawn from its
/// softmax(logits / temperature), or the likeliest at temperature 0. It sees the last `context`.
std::string write_sample(const lora::Module<float>& net, lora::Device device, lora::index_t context,
                         int count, double temperature, std::uint64_t seed);

}  // namespace attention_lora
