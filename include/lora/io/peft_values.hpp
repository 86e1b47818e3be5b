// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include <lora/nn/lora_config.hpp>

namespace lora::inline v0 {

/// Which modules a key of adapter_config.json means: none named, a list of names, or one regular
/// expression for the whole path. The expression "all-linear" means every Linear.
using PeftModules = std::variant<std::monostate, std::vector<std::string>, std::string>;

/// What PEFT's adapter_config.json says about a LoRA adapter, under PEFT's names and with its
/// defaults (PEFT 0.21). What is not here has no effect on a trained adapter, or is refused.
struct PeftConfig {
  static constexpr int kMaxRank = 1 << 20;

  int r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;

  PeftModules target_modules;
  PeftModules exclude_modules;
  std::vector<std::string> modules_to_save;

  /// Regular expressions for the end of a path, from a dot or from its beginning on.
  std::map<std::string, int> rank_pattern;
  std::map<std::string, double> alpha_pattern;

  LoRABias bias = LoRABias::none;
  bool fan_in_fan_out = false;  ///< of the base's weight in PyTorch; nothing follows from it here
  bool use_rslora = false;
  bool use_dora = false;
  bool lora_bias = false;
  std::variant<bool, std::string> init_lora_weights = true;  ///< how training began

  std::vector<int> layers_to_transform;     ///< empty: all; a number alone is a list of one
  std::vector<std::string> layers_pattern;  ///< empty: any; a string alone is a list of one

  std::string base_model_name_or_path;  ///< here and below, empty is null
  std::string revision;
  std::string task_type;
  std::string peft_version;
};

}  // namespace lora::inline v0
