// SPDX-License-Identifier: MIT
#include <cstddef>

#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

struct Facts {
  const void* table;
  std::size_t tensor, module, saved, backend;
};

__attribute__((visibility("default"))) Facts FACTS_FUNCTION() {
  lora::TorchGenerator generator(0);
  const lora::Linear<float> layer(3, 2, generator);
  const lora::Tensor<float> y = layer.forward(lora::Tensor<float>({1, 3}));
  return {&lora::detail::cuda_backend, sizeof(y), sizeof(lora::LoRALinear<float>),
          sizeof(lora::Saved<float>), sizeof(lora::detail::Backend)};
}
