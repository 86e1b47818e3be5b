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
#include <lora/nn/adaptable.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/lora_layer.hpp>
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
/// changes nothing. A module that stands in several places is adapted once, and stays one module.
template <class T>
class AdapterPlan {
 public:
  AdapterPlan(Module<T>& module, const LoRAConfig& config, Generator& generator,
              const std::string& name)
      : name_(name), config_(config), generator_(generator) {
    check_lora_config(config);
    const std::vector<std::string> taken = adapter_names(module);
    if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
      throw ValueError("add_adapter: the model already has an adapter named \"" + name + "\"");
    }
    std::vector<std::string> adaptable, modules;
    for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
      modules.push_back(path);
      if (matches_any(config.modules_to_save, path)) {
        plan_copy(path, child);
      } else if (const std::shared_ptr<Module<T>> base = adaptable_base(child)) {
        adaptable.push_back(path);
        for (const std::string& slice : slice_paths(path, *base)) adaptable.push_back(slice);
        plan_layer(path, child, base);
      }
    });
    require_matches("target_modules", config.target_modules, "layer to adapt", adaptable);
    require_matches("exclude_modules", config.exclude_modules, "layer to adapt", adaptable);
    for (const auto& entry : config.rank_pattern) {
      require_matches("rank_pattern", {entry.first}, "layer to adapt", adaptable);
    }
    for (const auto& entry : config.alpha_pattern) {
      require_matches("alpha_pattern", {entry.first}, "layer to adapt", adaptable);
    }
    require_matches("modules_to_save", config.modules_to_save, "module", modules);
    if (paths.empty())
      throw ValueError(
          "adapt: the model has no Linear to adapt, and target_modules names no other "
          "layer");
  }

  void put_in_place() {
    for (Layer& planned : layers_) {
      if (auto* const linear = dynamic_cast<LoRALinear<T>*>(planned.layer.get())) {
        for (auto& adapter : planned.adapters) linear->insert(std::move(adapter));
      } else {
        for (auto& adapter : planned.adapters) planned.layer->insert(std::move(adapter));
      }
      for (Child<T>* place : planned.places) place->module = planned.layer;
    }
    for (Copy& planned : copies_) {
      planned.layer->insert(name_, std::move(planned.copy));
      for (Child<T>* place : planned.places) place->module = planned.layer;
    }
  }

  /// Calls visit(path, has_rank, name, parameter) for what the adapter will learn, before it is in
  /// place: the layer's path, whether it has A and B there, and PEFT's name within the layer.
  template <class Visit>
  void for_each_parameter(const Visit& visit) {
    for (Layer& planned : layers_) {
      const auto has_rank = [](const auto& adapter) { return adapter->rank() > 0; };
      const bool any = std::any_of(planned.adapters.begin(), planned.adapters.end(), has_rank);
      for (auto& adapter : planned.adapters) {
        adapter->for_each_parameter(
            [&](const char* name, Parameter<T>& p) { visit(planned.path, any, name, p); });
      }
    }
    for (Copy& planned : copies_) {
      for (const NamedParameter<T>& named : planned.copy->named_parameters()) {
        const std::string name = "modules_to_save." + name_ + "." + named.name;
        visit(planned.path, false, name.c_str(), *named.parameter);
      }
    }
  }

  /// The layer itself, without the adapters that it may have; null where it can have none.
  static std::shared_ptr<Module<T>> adaptable_base(const Child<T>& child) {
    const auto adapted = std::dynamic_pointer_cast<LoRALayer<T>>(child.module);
    std::shared_ptr<Module<T>> base = adapted ? adapted->base_module() : child.module;
    const bool can_be_adapted =
        dynamic_cast<Linear<T>*>(base.get()) || dynamic_cast<Adaptable<T>*>(base.get());
    return can_be_adapted ? base : nullptr;
  }

  std::vector<std::string> paths;  ///< of the layers with low-rank updates

 private:
  struct Layer {
    std::string path;  // of the first place
    std::shared_ptr<Module<T>> base;
    std::shared_ptr<LoRALayer<T>> layer;
    std::vector<std::unique_ptr<LoRAAdapter<T>>> adapters;  // one, or one a slice
    std::vector<Child<T>*> places;
  };
  struct Copy {
    std::string path;
    std::shared_ptr<ModuleToSave<T>> layer;
    std::shared_ptr<Module<T>> copy;
    std::vector<Child<T>*> places;
  };

  static std::vector<std::string> slice_paths(const std::string& path, Module<T>& base) {
    std::vector<std::string> paths;
    if (auto* const linear = dynamic_cast<Linear<T>*>(&base)) {
      for (const OutputSlice& slice : linear->output_slices()) {
        paths.push_back(path + "." + slice.name);
      }
    }
    return paths;
  }

  void plan_layer(const std::string& path, Child<T>& child,
                  const std::shared_ptr<Module<T>>& base) {
    for (Layer& planned : layers_) {
      if (planned.base != base) continue;
      planned.places.push_back(&child);
      return;
    }
    auto* const linear = dynamic_cast<Linear<T>*>(base.get());
    std::vector<std::unique_ptr<LoRAAdapter<T>>> adapters;
    if (is_target(path, linear != nullptr)) {
      const LoRAConfig config = config_.at(path);
      adapters.push_back(
          linear ? make_lora_adapter(*linear, config, generator_, name_)
                 : dynamic_cast<Adaptable<T>&>(*base).make_adapter(config, generator_, name_));
      paths.push_back(path);
    }
    if (linear) plan_slices(path, *linear, adapters);
    if (adapters.empty() && linear && config_.bias == LoRABias::all && linear->has_bias()) {
      adapters.push_back(std::make_unique<LoRAAdapter<T>>());
      adapters.back()->name = name_;
      adapters.back()->bias.value = linear->bias.value;
    }
    if (adapters.empty()) return;
    auto layer = std::dynamic_pointer_cast<LoRALayer<T>>(child.module);
    if (!layer && linear) {
      layer = std::make_shared<LoRALinear<T>>(std::static_pointer_cast<Linear<T>>(base));
    } else if (!layer) {
      layer = dynamic_cast<Adaptable<T>&>(*base).make_adapted(base);
    }
    layers_.push_back({path, base, std::move(layer), std::move(adapters), {&child}});
  }

  // The slices of a fused layer are targets under paths of their own.
  void plan_slices(const std::string& path, Linear<T>& base,
                   std::vector<std::unique_ptr<LoRAAdapter<T>>>& adapters) {
    const bool has_whole = !adapters.empty();
    for (const OutputSlice& slice : base.output_slices()) {
      const std::string slice_path = path + "." + slice.name;
      if (!is_target(slice_path, false)) continue;
      if (has_whole) {
        throw ValueError("adapt: target_modules names both " + path + " and its slice " +
                         slice_path);
      }
      adapters.push_back(
          make_lora_adapter(base, config_.at(slice_path), generator_, name_, &slice));
      paths.push_back(slice_path);
    }
  }

  bool is_target(const std::string& path, bool is_linear) const {
    const auto names_it = [&](const ModulePattern& pattern) {
      return (is_linear || !pattern.means_all_linear()) && pattern.matches(path);
    };
    const auto& targets = config_.target_modules;
    const bool is_named =
        targets.empty() ? is_linear : std::any_of(targets.begin(), targets.end(), names_it);
    return is_named && !matches_any(config_.exclude_modules, path);
  }

  void plan_copy(const std::string& path, Child<T>& child) {
    for (Copy& planned : copies_) {
      if (planned.places.front()->module != child.module) continue;
      planned.places.push_back(&child);
      return;
    }
    auto layer = std::dynamic_pointer_cast<ModuleToSave<T>>(child.module);
    if (!layer) layer = std::make_shared<ModuleToSave<T>>(child.module);
    copies_.push_back({path, layer, layer->original().clone(), {&child}});
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

  const std::string name_;
  const LoRAConfig& config_;
  Generator& generator_;
  std::vector<Layer> layers_;
  std::vector<Copy> copies_;
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
