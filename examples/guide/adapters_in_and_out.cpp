// SPDX-License-Identifier: MIT
#include <cstdio>
#include <filesystem>

#include <lora/io/peft.hpp>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();
  const lora::Tensor<float> x = guide::make_input(4);
  lora::adapt(model, {.r = 4, .target_modules = {"query", "value"}});
  guide::train(model);

  lora::save_peft_adapter(model, "my_adapter");  // adapter_config.json, adapter_model.safetensors

  lora::Sequential<float> other = guide::make_model();
  const lora::PeftConfig config = lora::load_peft_adapter(other, "my_adapter");
  std::printf("rank %d, the same output: %d\n", config.r,
              other.forward(x)(0, 0) == model.forward(x)(0, 0));
  std::filesystem::remove_all("my_adapter");
}
