// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module_pattern.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// What an initialisation is given: the layer's weight (O, I) and, if backward() has been called
/// before, its gradient; in double, on the CPU.
struct LoRAInitInput {
  Tensor<double> weight, gradient;
  index_t r;
  double scale;
  Generator& generator;
};

template <class T>
struct LoRAInitialValues {
  Tensor<T> a, b;  ///< (R, I), (O, R)
};

/// How an adapter starts. Those here begin with B zero; <lora/nn/lora_init.hpp> has orthogonal(),
/// olora(), pissa() and lora_ga(), which take decompositions of W or of its gradient.
struct LoRAInit {
  enum Kind {
    kaiming_uniform,  ///< A uniform in ±1/√in_features: PEFT's default
    gaussian,         ///< A normal with standard deviation 1/r: PEFT's "gaussian"
    standard_normal,  ///< A normal with standard deviation 1
    computed,         ///< what `compute` says
  };

  LoRAInit(Kind kind = kaiming_uniform) : kind(kind) {}

  Kind kind;
  /// A and B; where their product is not zero, what the layer adds is B A less this product, so
  /// that every adapter begins as no change and W is never touched.
  LoRAInitialValues<double> (*compute)(const LoRAInit&, const LoRAInitInput&) = nullptr;
  bool product_is_zero = true;
  int iterations = 0;  ///< of a randomised decomposition; 0: an exact one
};

/// Which biases learn with an adapter. Each adapter has its own copy, so that without it the base
/// is the base.
enum class LoRABias { none, all, lora_only };

/// What PEFT's LoraConfig calls by the same names, with the same defaults.
struct LoRAConfig {
  int r = 8;
  double lora_alpha = 8;

  /// Which layers get an adapter; empty: all that can. See ModulePattern for what a name means.
  std::vector<ModulePattern> target_modules = {};
  /// Layers left out although they are targets.
  std::vector<ModulePattern> exclude_modules = {};

  /// Other ranks and alphas for some layers. Two patterns that match one layer are an error.
  std::vector<std::pair<ModulePattern, int>> rank_pattern = {};
  std::vector<std::pair<ModulePattern, double>> alpha_pattern = {};

  /// The share of the adapter's input that is dropped in training, as torch.nn.Dropout.
  double lora_dropout = 0;

  LoRABias bias = LoRABias::none;

  /// Give B a bias, which is scaled as its product is.
  bool lora_bias = false;

  /// Scale the update by alpha/√r instead of alpha/r: Kalajdzievski, 2023 (arXiv 2312.03732).
  bool use_rslora = false;

  /// Learn the rows' lengths apart from their directions: Liu et al., 2024 (arXiv 2402.09353).
  bool use_dora = false;

  LoRAInit init_lora_weights = {};

  /// Layers that are trained whole, on a copy of their own: a new head, say.
  std::vector<ModulePattern> modules_to_save = {};

  /// Of the initial values and of dropout, where no generator is given.
  std::uint64_t seed = 0;

  double scale() const {
    return lora_alpha / (use_rslora ? std::sqrt(static_cast<double>(r)) : static_cast<double>(r));
  }

  /// Whether the adapter is A and B, with B zero at first, and nothing else.
  bool is_plain() const {
    return lora_dropout == 0 && bias == LoRABias::none && !lora_bias && !use_dora &&
           init_lora_weights.kind != LoRAInit::computed;
  }

  /// This configuration with the rank and the alpha that the patterns give to the layer at `path`.
  /// Throws ValueError when two patterns match it.
  LoRAConfig at(const std::string& path) const {
    LoRAConfig config = *this;
    config.r = resolve("rank_pattern", rank_pattern, path, r);
    config.lora_alpha = resolve("alpha_pattern", alpha_pattern, path, lora_alpha);
    return config;
  }

 private:
  template <class V>
  static V resolve(const char* key, const std::vector<std::pair<ModulePattern, V>>& patterns,
                   const std::string& path, V otherwise) {
    const ModulePattern* found = nullptr;
    for (const auto& [pattern, value] : patterns) {
      if (!pattern.matches(path)) continue;
      if (found) {
        throw ValueError("LoRAConfig: " + path + " is matched by two entries of " + key + ", \"" +
                         found->text() + "\" and \"" + pattern.text() + "\"");
      }
      found = &pattern;
      otherwise = value;
    }
    return otherwise;
  }
};

}  // namespace lora::inline v0
