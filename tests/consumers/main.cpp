// SPDX-License-Identifier: MIT
// The smallest program of a user: one include, one adapted layer. Exits with 0 when the adapter,
// whose lora_B starts at zero, leaves the layer's output as it is.
#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

int main() {
  lora::TorchGenerator generator(0);
  const lora::Linear<float> linear(8, 4, generator);
  const lora::LoRALinear<float> adapted(linear, {.r = 2}, generator);
  lora::Tensor<float> x({1, 8});
  lora::ops::fill(x, 1.0);
  return linear.forward(x)[0] == adapted.forward(x)[0] ? 0 : 1;
}
