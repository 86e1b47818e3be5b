// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapted_module.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/tensor.hpp>

// The adapters of a whole model, by name.

namespace lora::inline v0::detail {

/// Calls visit(path, child) for every module below `module`, parents first.
template <class T, class Visit>
void for_each_child(Module<T>& module, const std::string& prefix, const Visit& visit) {
  for (Child<T>& child : module.children()) {
    const std::string path = prefix + child.name;
    visit(path, child);
    for_each_child(*child.module, path + ".", visit);
  }
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Every layer of type Layer, `module` itself among them, with its path:
/// layers_of<LoRALinear<float>>(net). One that stands in several places is there once, under its
/// first path.
template <class Layer, class T>
std::vector<std::pair<std::string, Layer*>> layers_of(Module<T>& module) {
  std::vector<std::pair<std::string, Layer*>> layers;
  const auto add = [&](const std::string& path, Module<T>& one) {
    auto* const layer = dynamic_cast<Layer*>(&one);
    const auto is_it = [&](const auto& other) { return other.second == layer; };
    if (layer && std::none_of(layers.begin(), layers.end(), is_it)) {
      layers.emplace_back(path, layer);
    }
  };
  add("", module);
  detail::for_each_child(
      module, "", [&](const std::string& path, Child<T>& child) { add(path, *child.module); });
  return layers;
}

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_unknown_adapter(
    const char* what, const std::string& name, const std::vector<std::string>& names) {
  std::string known;
  for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
  throw ValueError(std::string(what) + ": the model has no adapter named \"" + name +
                   "\"; there are: " + (known.empty() ? "none" : known));
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Every layer of `module` with low-rank adapters, with its path.
template <class T>
std::vector<std::pair<std::string, LoRALayer<T>*>> lora_layers(Module<T>& module) {
  return layers_of<LoRALayer<T>>(module);
}

/// Every layer of `module` that adapters change, with its path.
template <class T>
std::vector<std::pair<std::string, AdaptedModule<T>*>> adapted_modules(Module<T>& module) {
  return layers_of<AdaptedModule<T>>(module);
}

/// The names of the model's adapters: those of the first layer in the order in which they were
/// added, then those that other layers have besides.
template <class T>
std::vector<std::string> adapter_names(Module<T>& module) {
  std::vector<std::string> names;
  for (const auto& [path, layer] : adapted_modules(module)) {
    for (const std::string& name : layer->adapter_names()) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

namespace detail {

template <class T>
void require_adapters(const char* what, Module<T>& module, const std::vector<std::string>& names) {
  const std::vector<std::string> known = adapter_names(module);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw_unknown_adapter(what, name, known);
    }
  }
}

}  // namespace detail

/// What the adapter of that name learns, by dotted path: "linear1.lora_A.default.weight".
template <class T>
std::vector<NamedParameter<T>> adapter_parameters(Module<T>& module, const std::string& name) {
  std::vector<NamedParameter<T>> all;
  for (const auto& [path, layer] : adapted_modules(module)) {
    const std::string prefix = path.empty() ? "" : path + ".";
    layer->adapter_parameters(name, [&](const char* own, Parameter<T>& p) {
      all.push_back({prefix + own, &p});
    });
  }
  return all;
}

/// Makes the adapters of these names active in the whole model, and no other: their updates add up.
/// What is trainable does not change. Throws ValueError, and changes nothing, on a name that the
/// model does not have.
template <class T>
void set_adapters(Module<T>& module, const std::vector<std::string>& names) {
  detail::require_adapters("set_adapters", module, names);
  for (const auto& [path, layer] : adapted_modules(module)) layer->set_active(names);
}

/// As set_adapters with one name: PEFT's set_adapter.
template <class T>
void set_adapter(Module<T>& module, const std::string& name) {
  set_adapters(module, {name});
}

/// Removes an adapter; the layers stay adapted ones. Throws ValueError when there is none of that
/// name.
template <class T>
void delete_adapter(Module<T>& module, const std::string& name) {
  detail::require_adapters("delete_adapter", module, {name});
  for (const auto& [path, layer] : adapted_modules(module)) layer->remove_adapter(name);
}

/// Multiplies an adapter's scale by `strength` in every layer; 1 is as trained. Throws ValueError
/// when there is none of that name.
template <class T>
void set_adapter_strength(Module<T>& module, const std::string& name, double strength) {
  detail::require_adapters("set_adapter_strength", module, {name});
  for (const auto& [path, layer] : lora_layers(module)) {
    if (!layer->parts_of_adapter(name).empty()) layer->set_strength(name, strength);
  }
}

/// While it lives, every adapter of `module` is disabled. Can be nested.
template <class T>
class ScopedDisable {
 public:
  explicit ScopedDisable(Module<T>& module) {
    for (const auto& [path, layer] : adapted_modules(module)) {
      layer->enabled_will_be(false);
      ++layer->disables_;
      layers_.push_back(layer);
    }
  }

  ScopedDisable(const ScopedDisable&) = delete;
  ScopedDisable& operator=(const ScopedDisable&) = delete;

  ~ScopedDisable() {
    for (AdaptedModule<T>* layer : layers_) {
      --layer->disables_;
      layer->enabled_will_be(layer->enabled());
    }
  }

 private:
  std::vector<AdaptedModule<T>*> layers_;
};

template <template <class> class Container, class T>
ScopedDisable(Container<T>&) -> ScopedDisable<T>;

/// The number of each named adapter in adapter_names(module), for ScopedAdapterIds; -1 for an empty
/// name, which means the base. Throws ValueError on a name that the model does not have.
template <class T>
std::vector<std::int32_t> adapter_ids(Module<T>& module, const std::vector<std::string>& names) {
  const std::vector<std::string> known = adapter_names(module);
  std::vector<std::int32_t> ids;
  for (const std::string& name : names) {
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end() && !name.empty()) {
      detail::throw_unknown_adapter("adapter_ids", name, known);
    }
    ids.push_back(name.empty() ? -1 : static_cast<std::int32_t>(found - known.begin()));
  }
  return ids;
}

/// While it lives, each sample of a batch, a row or the rows of a sequence, goes through an adapter
/// of its own, forward and backward: sample i, along the input's first size, through
/// adapter_names(module)[ids[i]], or through the base where ids[i] is -1. Which adapters are active
/// does not matter meanwhile.
template <class T>
class ScopedAdapterIds {
 public:
  /// Throws ValueError on an unknown id, while an adapter is merged, and where modules_to_save has
  /// put copies of a module.
  ScopedAdapterIds(Module<T>& module, std::span<const std::int32_t> ids) {
    ids_.names = adapter_names(module);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= -1 && ids[i] < static_cast<std::int64_t>(ids_.names.size())) continue;
      throw ValueError("ScopedAdapterIds: row " + std::to_string(i) + " has adapter id " +
                       std::to_string(ids[i]) + ", expected -1 to " +
                       std::to_string(static_cast<std::int64_t>(ids_.names.size()) - 1));
    }
    const auto parameters = module.parameters();
    const Device device = parameters.empty() ? Device::cpu : parameters.front()->value.device();
    ids_.of_sample = Tensor<std::int32_t>({static_cast<index_t>(ids.size())}, ids).to(device);
    for (const auto& [path, layer] : adapted_modules(module)) layer->require_rows_can_differ();
    for (const auto& [path, layer] : layers_of<LoRALinear<T>>(module)) layer->run_together();
    for (const auto& [path, layer] : adapted_modules(module)) {
      layers_.emplace_back(layer, std::exchange(layer->ids_, &ids_));
    }
  }

  ScopedAdapterIds(const ScopedAdapterIds&) = delete;
  ScopedAdapterIds& operator=(const ScopedAdapterIds&) = delete;

  ~ScopedAdapterIds() {
    for (const auto& [layer, before] : layers_) layer->ids_ = before;
  }

 private:
  detail::AdapterIds ids_;
  std::vector<std::pair<AdaptedModule<T>*, const detail::AdapterIds*>> layers_;
};

template <template <class> class Container, class T>
ScopedAdapterIds(Container<T>&, std::span<const std::int32_t>) -> ScopedAdapterIds<T>;
template <template <class> class Container, class T>
ScopedAdapterIds(Container<T>&, const std::vector<std::int32_t>&) -> ScopedAdapterIds<T>;

}  // namespace lora::inline v0
