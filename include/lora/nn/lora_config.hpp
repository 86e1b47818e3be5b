// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <lora/error.hpp>

namespace lora::inline v0 {

/// How lora_A starts; lora_B always starts at zero, so that an adapter begins as no change.
enum class LoRAInit {
  kaiming_uniform,  ///< uniform in ±1/√in_features, PEFT's default
  gaussian,         ///< normal with standard deviation 1/r, PEFT's "gaussian"
  standard_normal,  ///< normal with standard deviation 1
};

/// What PEFT's LoraConfig calls by the same names, with the same defaults.
struct LoRAConfig {
  int r = 8;
  double lora_alpha = 8;

  /// Names of layers, or endings of their paths after a dot: "linear1", "attention.query". Empty:
  /// every Linear of the model.
  std::vector<std::string> target_modules = {};

  /// Scale the update by alpha/√r instead of alpha/r: Kalajdzievski, 2023 (arXiv 2312.03732).
  bool use_rslora = false;

  LoRAInit init_lora_weights = LoRAInit::kaiming_uniform;

  /// Of the initial values, where no generator is given.
  std::uint64_t seed = 0;

  double scale() const {
    return lora_alpha / (use_rslora ? std::sqrt(static_cast<double>(r)) : static_cast<double>(r));
  }
};

}  // namespace lora::inline v0
