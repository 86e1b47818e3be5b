// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <lora/detail/path_regex.hpp>
#include <lora/error.hpp>
#include <lora/io/peft_values.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/module_pattern.hpp>

namespace lora::inline v0::detail {

/// As PEFT reads the keys of rank_pattern and alpha_pattern.
inline std::string pattern_key_regex(const std::string& key) { return "(.*\\.)?(" + key + ")$"; }

/// As PEFT keeps adapters from the modules of modules_to_save and what is below them.
inline std::string saved_module_regex(const std::string& name) {
  return "(^|.*\\.)" + name + "($|\\..*)";
}

inline bool means_all_linear(std::string expression) {
  for (char& c : expression) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return expression == "all-linear";
}

/// Whether the path is one of the names, or ends with a dot and one of them.
inline bool ends_with_name(const std::vector<std::string>& names, std::string_view path) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return ModulePattern(name).matches(path); });
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Which modules a PeftConfig means, by their paths in the model, and with which rank and scale:
/// decided as PEFT 0.21 decides it.
class PeftMatcher {
 public:
  /// Throws ValueError on a regular expression that is not supported.
  explicit PeftMatcher(PeftConfig config) : config_(std::move(config)) {
    targets_ = compiled(config_.target_modules);
    excluded_ = compiled(config_.exclude_modules);
    for (const std::string& name : config_.modules_to_save) {
      saved_.emplace_back(detail::saved_module_regex(name));
    }
    for (const auto& entry : config_.rank_pattern) ranks_.push_back(pattern(entry.first));
    for (const auto& entry : config_.alpha_pattern) alphas_.push_back(pattern(entry.first));
  }

  /// Whether the module gets A and B; `is_linear` says whether it is what "all-linear" means.
  bool is_target(std::string_view path, bool is_linear) const {
    if (is_named(config_.exclude_modules, excluded_, path, false)) return false;
    for (const detail::PathRegex& saved : saved_) {
      if (saved.matches(path)) return false;
    }
    return is_named(config_.target_modules, targets_, path, is_linear) && is_in_layers(path);
  }

  /// Whether the module is one of modules_to_save.
  bool is_saved(std::string_view path) const {
    return std::any_of(config_.modules_to_save.begin(), config_.modules_to_save.end(),
                       [&](const std::string& name) { return path.ends_with(name); });
  }

  /// The rank of the module's adapter. Throws ValueError when two patterns match it: PEFT takes the
  /// first, and sorts them when it saves.
  int rank(std::string_view path) const {
    return resolve("rank_pattern", ranks_, config_.rank_pattern, path, config_.r);
  }

  /// Its alpha. Throws as rank() does.
  double alpha(std::string_view path) const {
    return resolve("alpha_pattern", alphas_, config_.alpha_pattern, path, config_.lora_alpha);
  }

  /// What the product of B and A is multiplied by. Throws as rank() does.
  double scale(std::string_view path) const {
    const double r = rank(path);
    return alpha(path) / (config_.use_rslora ? std::sqrt(r) : r);
  }

 private:
  using Compiled = std::optional<detail::PathRegex>;
  using Pattern = std::pair<std::string, detail::PathRegex>;

  static Compiled compiled(const PeftModules& modules) {
    const auto* expression = std::get_if<std::string>(&modules);
    if (!expression || detail::means_all_linear(*expression)) return std::nullopt;
    return detail::PathRegex(*expression);
  }

  static Pattern pattern(const std::string& key) {
    return {key, detail::PathRegex(detail::pattern_key_regex(key))};
  }

  static bool is_named(const PeftModules& modules, const Compiled& regex, std::string_view path,
                       bool is_linear) {
    if (regex) return regex->matches(path);
    if (std::holds_alternative<std::string>(modules)) return is_linear;
    const auto* names = std::get_if<std::vector<std::string>>(&modules);
    return names && detail::ends_with_name(*names, path);
  }

  template <class V>
  static V resolve(const char* key, const std::vector<Pattern>& patterns,
                   const std::map<std::string, V>& values, std::string_view path, V otherwise) {
    const std::string* found = nullptr;
    for (const auto& [text, regex] : patterns) {
      if (!regex.matches(path)) continue;
      if (found) {
        throw ValueError(std::string(path) + " is matched by two entries of " + key + ", \"" +
                         *found + "\" and \"" + text + "\"");
      }
      found = &text;
    }
    return found ? values.at(*found) : otherwise;
  }

  // Whether the path's layer is one of layers_to_transform: the number after the first segment that
  // layers_pattern names, or else the first number that has two segments before it and one after.
  bool is_in_layers(std::string_view path) const {
    const std::vector<int>& layers = config_.layers_to_transform;
    if (layers.empty()) return true;
    std::vector<std::string> segments(1);
    for (const char c : path) {
      if (c == '.') {
        segments.emplace_back();
      } else {
        segments.back() += c;
      }
    }
    const auto layer_after = [&](std::size_t first, const std::string* name) -> const std::string* {
      for (std::size_t i = first; i + 1 < segments.size(); ++i) {
        if (is_number(segments[i]) && (!name || segments[i - 1] == *name)) return &segments[i];
      }
      return nullptr;
    };
    const std::string* layer = nullptr;
    if (config_.layers_pattern.empty()) layer = layer_after(2, nullptr);
    for (const std::string& name : config_.layers_pattern) {
      if (!layer) layer = layer_after(1, &name);
    }
    return layer && std::any_of(layers.begin(), layers.end(), [&](int number) {
             return std::to_string(number) == without_zeros(*layer);
           });
  }

  static bool is_number(const std::string& segment) {
    return !segment.empty() && segment.find_first_not_of("0123456789") == segment.npos;
  }

  static std::string without_zeros(const std::string& number) {
    return number.substr(std::min(number.find_first_not_of('0'), number.size() - 1));
  }

  PeftConfig config_;
  Compiled targets_, excluded_;
  std::vector<detail::PathRegex> saved_;
  std::vector<Pattern> ranks_, alphas_;
};

/// The LoRAConfig that trains a new adapter as `config` says. Throws ValueError where its
/// target_modules are null, which leaves them to PEFT, or counted by layers_to_transform.
inline LoRAConfig to_lora_config(const PeftConfig& config) {
  const PeftMatcher check(config);
  const auto patterns = [](const PeftModules& modules) {
    const auto matches = [](const std::string& text, std::string_view path) {
      return detail::PathRegex(text).matches(path);
    };
    std::vector<ModulePattern> all;
    if (const auto* names = std::get_if<std::vector<std::string>>(&modules)) {
      all.assign(names->begin(), names->end());
    } else if (const auto* expression = std::get_if<std::string>(&modules)) {
      all.push_back(detail::means_all_linear(*expression) ? all_linear
                                                          : ModulePattern(*expression, matches));
    }
    return all;
  };
  const auto key_pattern = [](const std::string& key) {
    return ModulePattern(key, [](const std::string& text, std::string_view path) {
      return detail::PathRegex(detail::pattern_key_regex(text)).matches(path);
    });
  };
  if (!config.layers_to_transform.empty()) {
    throw ValueError("PeftConfig: layers_to_transform has no counterpart in LoRAConfig");
  }
  LoRAConfig lora;
  lora.target_modules = patterns(config.target_modules);
  if (lora.target_modules.empty()) {
    throw ValueError("PeftConfig: target_modules names nothing, expected the modules to adapt");
  }
  lora.exclude_modules = patterns(config.exclude_modules);
  lora.modules_to_save = patterns(config.modules_to_save);
  lora.r = config.r;
  lora.lora_alpha = config.lora_alpha;
  for (const auto& [key, r] : config.rank_pattern) {
    lora.rank_pattern.emplace_back(key_pattern(key), r);
  }
  for (const auto& [key, alpha] : config.alpha_pattern) {
    lora.alpha_pattern.emplace_back(key_pattern(key), alpha);
  }
  lora.lora_dropout = config.lora_dropout;
  lora.bias = config.bias;
  lora.lora_bias = config.lora_bias;
  lora.use_rslora = config.use_rslora;
  lora.use_dora = config.use_dora;
  const auto* init = std::get_if<std::string>(&config.init_lora_weights);
  if (init && *init == "gaussian") lora.init_lora_weights = LoRAInit::gaussian;
  return lora;
}

}  // namespace lora::inline v0
