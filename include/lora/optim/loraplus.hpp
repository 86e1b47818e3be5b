// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/optim/parameter_group.hpp>

namespace lora::inline v0 {

/// The groups of LoRA+, after Hayou, Ghosh and Yu, "LoRA+: Efficient Low Rank Adaptation of Large
/// Models", 2024 (arXiv 2402.12354): every lora_B learns `loraplus_lr_ratio` times as fast as the
/// other parameters, as with PEFT's create_loraplus_optimizer; the paper uses 16.
///
///     Adam<float> adam(loraplus_groups(net, 16), {.lr = 1e-4});
///
/// Throws ValueError unless the ratio is above 0.
template <class T>
std::vector<ParameterGroup<T>> loraplus_groups(Module<T>& module, double loraplus_lr_ratio) {
  if (!(loraplus_lr_ratio > 0)) {
    throw ValueError("loraplus_groups: loraplus_lr_ratio is " + std::to_string(loraplus_lr_ratio) +
                     ", expected above 0");
  }
  ParameterGroup<T> others;
  ParameterGroup<T> lora_b{{}, loraplus_lr_ratio};
  for (const NamedParameter<T>& named : module.named_parameters()) {
    const bool is_b = ("." + named.name).find(".lora_B.") != std::string::npos;
    (is_b ? lora_b : others).parameters.push_back(named.parameter);
  }
  return {std::move(others), std::move(lora_b)};
}

}  // namespace lora::inline v0
