// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <lora/detail/path_regex.hpp>
#include <lora/error.hpp>
#include <lora/io/peft_matcher.hpp>
#include <lora/io/peft_names.hpp>
#include <lora/io/peft_values.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/lora_layer.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/module_to_save.hpp>

namespace lora::inline v0::detail {

/// Works out the PeftConfig with which PEFT puts an adapter of a model on the same modules, and
/// makes them compute the same.
template <class T>
class PeftConfigOf {
 public:
  /// Throws ValueError where there is no such configuration.
  PeftConfigOf(Module<T>& module, const std::string& adapter) {
    std::vector<const Module<T>*> seen;  // what stands in several places counts under its first
    for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
      modules_.push_back(path);
      if (std::find(seen.begin(), seen.end(), child.module.get()) != seen.end()) return;
      seen.push_back(child.module.get());
      if (auto* const layer = dynamic_cast<LoRALayer<T>*>(child.module.get())) {
        for (const LoRAAdapter<T>* part : layer->parts_of_adapter(adapter)) add(path, *part);
      } else if (const auto* saved = dynamic_cast<ModuleToSave<T>*>(child.module.get())) {
        const std::vector<std::string> names = saved->adapter_names();
        const bool has = std::find(names.begin(), names.end(), adapter) != names.end();
        if (has) config_.modules_to_save.push_back(path);
      }
    });
    if (ranks_.empty()) fail("the adapter \"" + adapter + "\" changes no layer by A and B");
    require_alike("DoRA", with_dora_);
    require_alike("lora_bias", with_lora_bias_);
    config_.use_dora = with_dora_ > 0;
    config_.lora_bias = with_lora_bias_ > 0;
    resolve_scales();
    config_.rank_pattern = patterns(ranks_, config_.r);
    config_.alpha_pattern = patterns(alphas_, config_.lora_alpha);
    std::vector<std::string> targets;
    for (const auto& entry : ranks_) targets.push_back(entry.first);
    config_.target_modules = exact_target_modules(std::move(targets), modules_);
    require_saved_alone();
  }

  PeftConfig take() { return std::move(config_); }

 private:
  [[noreturn]] static void fail(const std::string& what) {
    throw ValueError("save_peft_adapter: " + what);
  }

  void add(const std::string& path, const LoRAAdapter<T>& part) {
    if (!part.slice.empty()) {
      fail("the adapter of " + path + " is of the slice " + part.slice +
           ", for which PEFT has no form");
    }
    if (part.has_initial_values()) {
      fail("the adapter of " + path +
           " counts from initial values of its own; convert_to_lora() it first");
    }
    const bool has_rank = part.rank() > 0;
    if (!part.bias.value.empty() && config_.bias != LoRABias::all) {
      config_.bias = has_rank ? LoRABias::lora_only : LoRABias::all;
    }
    if (!has_rank) return;
    ranks_[path] = static_cast<int>(part.rank());
    alphas_[path] = part.lora_alpha;
    scales_[path] = part.scale;
    with_dora_ += part.uses_dora();
    with_lora_bias_ += !part.lora_B_bias.value.empty();
    // An embedding has no dropout, whatever it was asked for.
    config_.lora_dropout = std::max(config_.lora_dropout, part.dropout);
  }

  void require_alike(const char* what, std::size_t count) const {
    if (count == 0 || count == ranks_.size()) return;
    fail("the adapter has " + std::string(what) + " on " + std::to_string(count) + " of " +
         std::to_string(ranks_.size()) + " layers, for which PEFT has no form");
  }

  // Scales are alpha/r, or all of them alpha/√r; others are said by an alpha of their own.
  void resolve_scales() {
    bool all_plain = true, all_rslora = true;
    for (const auto& [path, r] : ranks_) {
      all_plain = all_plain && scales_[path] == alphas_[path] / r;
      all_rslora = all_rslora && scales_[path] == alphas_[path] / std::sqrt(static_cast<double>(r));
    }
    config_.use_rslora = all_rslora && !all_plain;
    if (!all_plain && !all_rslora) {
      for (const auto& [path, r] : ranks_) {
        if (scales_[path] != alphas_[path] / r) alphas_[path] = scales_[path] * r;
      }
    }
    config_.r = most_common(values_of(ranks_));
    config_.lora_alpha = most_common(values_of(alphas_));
  }

  // The entries for the layers that differ from the rest. A path stands for itself, unless as a
  // regular expression for the end of a path it means another layer too.
  template <class V>
  std::map<std::string, V> patterns(const std::map<std::string, V>& values, V usual) const {
    std::map<std::string, V> patterns;
    for (const auto& [path, value] : values) {
      if (value == usual) continue;
      patterns[means_only(path, path) ? path : exact_pattern_key(path)] = value;
    }
    return patterns;
  }

  bool means_only(const std::string& key, const std::string& path) const {
    const bool is_plain = regex_escaped(without_dots(key)) == without_dots(key);
    if (!is_plain) return false;
    const PathRegex regex(pattern_key_regex(key));
    return std::all_of(ranks_.begin(), ranks_.end(), [&](const auto& entry) {
      return regex.matches(entry.first) == (entry.first == path);
    });
  }

  static std::string without_dots(std::string path) {
    std::erase(path, '.');
    return path;
  }

  template <class V>
  static std::vector<V> values_of(const std::map<std::string, V>& map) {
    std::vector<V> values;
    for (const auto& entry : map) values.push_back(entry.second);
    return values;
  }

  // PEFT saves every module whose path ends with the name, and adapts none that it or its parent
  // means.
  void require_saved_alone() const {
    for (const std::string& saved : config_.modules_to_save) {
      for (const std::string& module : modules_) {
        const bool is_it = module == saved || std::count(config_.modules_to_save.begin(),
                                                         config_.modules_to_save.end(), module) > 0;
        if (is_it || !module.ends_with(saved)) continue;
        fail("PEFT would save " + module + " as well as " + saved + ", whose name it ends with");
      }
      const PathRegex not_adapted(saved_module_regex(saved));
      for (const auto& entry : ranks_) {
        if (!not_adapted.matches(entry.first)) continue;
        fail("PEFT would not adapt " + entry.first + ", because it saves " + saved);
      }
    }
  }

  PeftConfig config_;
  std::vector<std::string> modules_;
  std::map<std::string, int> ranks_;
  std::map<std::string, double> alphas_, scales_;
  std::size_t with_dora_ = 0, with_lora_bias_ = 0;
};

}  // namespace lora::inline v0::detail
