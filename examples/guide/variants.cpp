// SPDX-License-Identifier: MIT
#include <cstdio>

#include <lora/nn/lora_init.hpp>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();

  lora::add_adapter(model, "rslora", {.r = 8, .use_rslora = true});  // alpha/√r
  lora::add_adapter(model, "dora", {.r = 8, .use_dora = true});  // lengths apart from directions
  lora::add_adapter(model, "pissa", {.r = 8, .init_lora_weights = lora::pissa()});
  lora::add_adapter(model, "fast", {.r = 8, .init_lora_weights = lora::pissa(16)});
  lora::add_adapter(model, "olora", {.r = 8, .init_lora_weights = lora::olora()});
  lora::add_adapter(model, "orthogonal", {.r = 8, .init_lora_weights = lora::orthogonal()});

  // LoRA-GA starts from the gradient of some batches, which a backward pass without a step leaves.
  lora::Saved<float> saved;
  const lora::Tensor<float> x = guide::make_input(10);
  model.backward(model.forward(x, saved), saved);
  lora::add_adapter(model, "ga", {.r = 4, .init_lora_weights = lora::lora_ga()});

  lora::set_adapter(model, "pissa");
  lora::mark_only_lora_as_trainable(model, "pissa");
  guide::train(model);
  lora::convert_to_lora(model, "pissa");  // a plain adapter of twice the rank, for other programs

  // LoRA+: B learns sixteen times as fast as A.
  lora::set_adapter(model, "rslora");
  lora::mark_only_lora_as_trainable(model, "rslora");
  lora::Adam<float> adam(lora::loraplus_groups(model, 16.0), {.lr = 1e-4});
  guide::train(model, adam);
  for (const std::string& name : lora::adapter_names(model)) std::printf("%s\n", name.c_str());
}
