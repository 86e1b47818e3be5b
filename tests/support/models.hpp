// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include <lora/lora.hpp>

#include "support/tensors.hpp"

namespace lora_test {

/// The study's network in small: linear1 - relu1 - linear2.
template <class T>
lora::Sequential<T> small_net(std::uint64_t seed, index_t in = 7, index_t hidden = 6,
                              index_t out = 4) {
  lora::PhiloxGenerator generator(seed);
  lora::Sequential<T> net;
  net.add("linear1", lora::Linear<T>(in, hidden, generator));
  net.add("relu1", lora::ReLU<T>());
  net.add("linear2", lora::Linear<T>(hidden, out, generator));
  return net;
}

/// Gives every adapter a lora_B that is not zero, as after training.
template <class T>
void randomize_adapters(lora::Module<T>& net, std::uint64_t seed) {
  lora::PhiloxGenerator generator(seed);
  for (const auto& [path, layer] : lora::lora_layers(net)) {
    generator.normal(layer->adapter().lora_B.value.span(), 0.0, 1.0);
  }
}

template <class T>
lora::LoRALinear<T>& lora_layer(lora::Module<T>& net, std::size_t i) {
  return *lora::layers_of<lora::LoRALinear<T>>(net).at(i).second;
}

}  // namespace lora_test
