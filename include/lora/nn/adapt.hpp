// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/module_to_save.hpp>
#include <lora/random.hpp>

namespace lora::inline v0::detail {

inline bool matches_any(const std::vector<ModulePattern>& patterns, std::string_view path) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const ModulePattern& pattern) { return pattern.matches(path); });
}

/// Puts a new adapter on a model: first everything is made, then it is put in place, so an error
/// changes nothing.
template <class T>
class AdapterPlan {
 public:
  AdapterPlan(Module<T>& module, const LoRAConfig& config, Generator& generator,
              const std::string& name)
      : name_(name) {
    check_lora_config(config);
    const std::vector<std::string> taken = adapter_names(module);
    if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
      throw ValueError("add_adapter: the model already has an adapter named \"" + name + "\"");
    }
    std::vector<std::string> linears, modules;
    for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
      modules.push_back(path);
      if (matches_any(config.modules_to_save, path)) {
        copies_.push_back(&child);
      } else if (base_of(child)) {
        linears.push_back(path);
        plan_linear(path, child, config, generator);
      }
    });
    require_matches("target_modules", config.target_modules, "Linear", linears);
    require_matches("exclude_modules", config.exclude_modules, "Linear", linears);
    for (const auto& entry : config.rank_pattern) {
      require_matches("rank_pattern", {entry.first}, "Linear", linears);
    }
    for (const auto& entry : config.alpha_pattern) {
      require_matches("alpha_pattern", {entry.first}, "Linear", linears);
    }
    require_matches("modules_to_save", config.modules_to_save, "module", modules);
    if (paths.empty()) throw ValueError("adapt: the model has no Linear to adapt");
    make_layers();
  }

  void put_in_place() {
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      layers_[i]->insert(std::move(adapters_[i].second));
      adapters_[i].first->module = layers_[i];
    }
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      with_copies_[i]->insert(name_, std::move(new_copies_[i]));
      copies_[i]->module = with_copies_[i];
    }
  }

  std::vector<std::string> paths;  ///< of the layers with low-rank updates

 private:
  static std::shared_ptr<Linear<T>> base_of(const Child<T>& child) {
    if (auto adapted = std::dynamic_pointer_cast<LoRALinear<T>>(child.module)) {
      return adapted->shared_base();
    }
    return std::dynamic_pointer_cast<Linear<T>>(child.module);
  }

  void plan_linear(const std::string& path, Child<T>& child, const LoRAConfig& config,
                   Generator& generator) {
    const std::shared_ptr<Linear<T>> base = base_of(child);
    const bool is_target =
        (config.target_modules.empty() || matches_any(config.target_modules, path)) &&
        !matches_any(config.exclude_modules, path);
    if (is_target) {
      adapters_.emplace_back(&child, make_lora_adapter(*base, config.at(path), generator, name_));
      paths.push_back(path);
    } else if (config.bias == LoRABias::all && base->has_bias()) {
      auto bias_alone = std::make_unique<LoRAAdapter<T>>();
      bias_alone->name = name_;
      bias_alone->bias.value = base->bias.value;
      adapters_.emplace_back(&child, std::move(bias_alone));
    }
  }

  void make_layers() {
    for (const auto& [child, adapter] : adapters_) {
      auto layer = std::dynamic_pointer_cast<LoRALinear<T>>(child->module);
      layers_.push_back(layer ? layer : std::make_shared<LoRALinear<T>>(base_of(*child)));
    }
    for (const Child<T>* child : copies_) {
      auto layer = std::dynamic_pointer_cast<ModuleToSave<T>>(child->module);
      if (!layer) layer = std::make_shared<ModuleToSave<T>>(child->module);
      new_copies_.push_back(layer->original().clone());
      with_copies_.push_back(std::move(layer));
    }
  }

  static void require_matches(const char* key, const std::vector<ModulePattern>& patterns,
                              const char* what, const std::vector<std::string>& paths) {
    for (const ModulePattern& pattern : patterns) {
      const bool found = std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
        return pattern.matches(path);
      });
      if (found) continue;
      std::string available;
      for (const std::string& path : paths) available += (available.empty() ? "" : ", ") + path;
      throw ValueError(std::string("adapt: \"") + pattern.text() + "\" of " + key + " names no " +
                       what + "; there are: " + (available.empty() ? "none" : available));
    }
  }

  std::string name_;
  std::vector<std::pair<Child<T>*, std::unique_ptr<LoRAAdapter<T>>>> adapters_;
  std::vector<std::shared_ptr<LoRALinear<T>>> layers_;
  std::vector<Child<T>*> copies_;
  std::vector<std::shared_ptr<ModuleToSave<T>>> with_copies_;
  std::vector<std::shared_ptr<Module<T>>> new_copies_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Makes every parameter untrainable but those of the adapters, or of the one adapter named.
/// Returns the names of the frozen ones.
template <class T>
std::vector<std::string> mark_only_lora_as_trainable(Module<T>& module,
                                                     const std::string& only = "") {
  std::vector<const Parameter<T>*> learning;
  for (const std::string& name : adapter_names(module)) {
    if (!only.empty() && name != only) continue;
    for (const auto& named : adapter_parameters(module, name)) learning.push_back(named.parameter);
  }
  std::vector<std::string> frozen;
  for (const NamedParameter<T>& named : module.named_parameters()) {
    named.parameter->trainable =
        std::find(learning.begin(), learning.end(), named.parameter) != learning.end();
    if (!named.parameter->trainable) frozen.push_back(named.name);
  }
  return frozen;
}

/// Puts one more adapter on the layers below `module` that `config` targets, in place; it is
/// trainable and not active yet, and nothing else changes. Returns the paths of its layers. Throws
/// ValueError, with what there is, when a pattern matches nothing, and then nothing has changed.
template <class T>
std::vector<std::string> add_adapter(Module<T>& module, const std::string& name,
                                     const LoRAConfig& config, Generator& generator) {
  detail::AdapterPlan<T> plan(module, config, generator, name);
  plan.put_in_place();
  return plan.paths;
}

/// As above, with initial values from Philox streams of `config.seed`.
template <class T>
std::vector<std::string> add_adapter(Module<T>& module, const std::string& name,
                                     const LoRAConfig& config) {
  PhiloxGenerator generator(config.seed);
  return add_adapter(module, name, config, generator);
}

/// Puts an adapter on every layer below `module` that `config` targets, in place, makes it the
/// active one and freezes everything else: add_adapter, set_adapter and
/// mark_only_lora_as_trainable, or PEFT's get_peft_model.
template <class T>
std::vector<std::string> adapt(Module<T>& module, const LoRAConfig& config, Generator& generator,
                               const std::string& name = "default") {
  std::vector<std::string> paths = add_adapter(module, name, config, generator);
  set_adapter(module, name);
  mark_only_lora_as_trainable(module, name);
  return paths;
}

/// As above, with initial values from Philox streams of `config.seed`.
template <class T>
std::vector<std::string> adapt(Module<T>& module, const LoRAConfig& config,
                               const std::string& name = "default") {
  PhiloxGenerator generator(config.seed);
  return adapt(module, config, generator, name);
}

}  // namespace lora::inline v0
