// SPDX-License-Identifier: MIT
#include <cstdio>

#include <lora/io/checkpoint.hpp>
#include <lora/nn/resize_adapter.hpp>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();
  const lora::Tensor<float> x = guide::make_input(4);

  lora::adapt(model, {.r = 4}, "german");  // active, and all that is trained
  guide::train(model);

  lora::add_adapter(model, "legal", {.r = 8, .target_modules = {"query", "value"}});
  lora::set_adapters(model, {"german", "legal"});     // both at once: their updates add up
  lora::mark_only_lora_as_trainable(model, "legal");  // the first stays as it is
  guide::train(model);

  lora::set_adapter_strength(model, "german", 0.5);  // half of it, from now on
  lora::set_adapter(model, "legal");                 // the other alone

  lora::add_weighted_adapter(model, {"german", "legal"}, {0.5, 1.0}, "both");  // exact, rank 12
  lora::resize_adapter(model, "both", 6);                                      // the best of rank 6
  lora::set_adapter(model, "both");
  lora::delete_adapter(model, "german");
  lora::save_adapter(model, "both.safetensors", "both");

  const lora::ScopedDisable off(model);  // the base, bit for bit, until the end of the scope
  std::printf("%g\n", static_cast<double>(model.forward(x)(0, 0)));
  std::remove("both.safetensors");
}
