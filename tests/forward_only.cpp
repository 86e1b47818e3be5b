// SPDX-License-Identifier: MIT
// What compiles in every program: the umbrella and one forward pass.
#include <memory>

#include <lora/lora.hpp>

int main() {
  lora::PhiloxGenerator generator(1);
  const auto base = std::make_shared<lora::Linear<float>>(784, 1000, generator);
  const lora::LoRALinear<float> layer(base, {.r = 4}, generator);
  const lora::Tensor<float> x({10, 784});
  return layer.forward(x).numel() == 10'000 ? 0 : 1;
}
