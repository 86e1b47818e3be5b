// SPDX-License-Identifier: MIT
#include <cstdio>

#include <lora/nn/regex.hpp>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();
  const lora::LoRAConfig config{
      .r = 8,
      .lora_alpha = 16,
      .target_modules = {"query", "value", lora::regex("block[0-9]\\.mlp")},
      .exclude_modules = {"block0.query"},
      .rank_pattern = {{"mlp", 2}},
      .alpha_pattern = {{"mlp", 4}},
      .lora_dropout = 0.05,
      .bias = lora::LoRABias::lora_only,
      .modules_to_save = {"head"},
  };
  for (const std::string& path : lora::adapt(model, config)) std::printf("%s\n", path.c_str());
  std::printf("%s\n", lora::to_string(lora::count_parameters(model)).c_str());

  guide::train(model);
  model.eval();  // no dropout from here on
}
