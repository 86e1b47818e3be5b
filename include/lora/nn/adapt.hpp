// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

namespace detail {

/// Calls visit(path, child) for every module below `module`, parents first.
template <class T, class Visit>
void for_each_child(Module<T>& module, const std::string& prefix, const Visit& visit) {
  for (Child<T>& child : module.children()) {
    const std::string path = prefix + child.name;
    visit(path, child);
    for_each_child(*child.module, path + ".", visit);
  }
}

inline bool is_adapter_parameter(std::string_view name) {
  return name.ends_with("lora_A.weight") || name.ends_with("lora_B.weight");
}

inline bool matches_target(std::string_view path, const std::vector<std::string>& targets) {
  if (targets.empty()) return true;
  for (const std::string& target : targets) {
    if (path == target || path.ends_with("." + target)) return true;
  }
  return false;
}

}  // namespace detail

/// Every adapted layer below `module`, with its path.
template <class T>
std::vector<std::pair<std::string, LoRALinear<T>*>> lora_layers(Module<T>& module) {
  std::vector<std::pair<std::string, LoRALinear<T>*>> layers;
  detail::for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
    if (auto* layer = dynamic_cast<LoRALinear<T>*>(child.module.get())) {
      layers.emplace_back(path, layer);
    }
  });
  return layers;
}

/// Makes every parameter untrainable but the adapters'. Returns the names of the frozen ones.
template <class T>
std::vector<std::string> mark_only_lora_as_trainable(Module<T>& module) {
  std::vector<std::string> frozen;
  for (const NamedParameter<T>& named : module.named_parameters()) {
    const bool is_adapter = detail::is_adapter_parameter(named.name);
    named.parameter->trainable = is_adapter;
    if (!is_adapter) frozen.push_back(named.name);
  }
  return frozen;
}

/// Puts an adapter on every Linear below `module` that `config` targets, in place, and freezes
/// everything else. Returns the paths of the adapted layers. Throws ValueError, with what there is,
/// when a target names no Linear.
template <class T>
std::vector<std::string> adapt(Module<T>& module, const LoRAConfig& config, Generator& generator) {
  std::vector<Child<T>*> chosen;
  std::vector<std::string> paths;
  std::string available;
  std::vector<std::string> unmatched = config.target_modules;
  detail::for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
    if (!std::dynamic_pointer_cast<Linear<T>>(child.module)) return;
    available += (available.empty() ? "" : ", ") + path;
    std::erase_if(unmatched,
                  [&](const std::string& t) { return detail::matches_target(path, {t}); });
    if (!detail::matches_target(path, config.target_modules)) return;
    chosen.push_back(&child);
    paths.push_back(path);
  });
  if (!unmatched.empty()) {
    throw ValueError("adapt: target \"" + unmatched.front() +
                     "\" names no Linear; there are: " + (available.empty() ? "none" : available));
  }
  if (chosen.empty()) throw ValueError("adapt: the model has no Linear to adapt");

  // All adapters are made before the first is put in place, so an error changes nothing.
  std::vector<std::shared_ptr<LoRALinear<T>>> adapters;
  for (Child<T>* child : chosen) {
    adapters.push_back(std::make_shared<LoRALinear<T>>(
        std::dynamic_pointer_cast<Linear<T>>(child->module), config, generator));
  }
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i]->module = std::move(adapters[i]);
  mark_only_lora_as_trainable(module);
  return paths;
}

/// As above, with initial values from Philox streams of `config.seed`.
template <class T>
std::vector<std::string> adapt(Module<T>& module, const LoRAConfig& config) {
  PhiloxGenerator generator(config.seed);
  return adapt(module, config, generator);
}

/// While it lives, every adapter below `module` is disabled. Can be nested.
template <class T>
class ScopedDisable {
 public:
  explicit ScopedDisable(Module<T>& module) {
    if (auto* layer = dynamic_cast<LoRALinear<T>*>(&module)) layers_.push_back(layer);
    for (const auto& [path, layer] : lora_layers(module)) layers_.push_back(layer);
    for (LoRALinear<T>* layer : layers_) {
      ++layer->disables_;
      layer->update_weight();
    }
  }

  ScopedDisable(const ScopedDisable&) = delete;
  ScopedDisable& operator=(const ScopedDisable&) = delete;

  ~ScopedDisable() {
    for (LoRALinear<T>* layer : layers_) {
      --layer->disables_;
      layer->update_weight();
    }
  }

 private:
  std::vector<LoRALinear<T>*> layers_;
};

template <template <class> class Container, class T>
ScopedDisable(Container<T>&) -> ScopedDisable<T>;

struct ParameterCount {
  index_t trainable = 0;
  index_t all = 0;
};

template <class T>
ParameterCount count_parameters(Module<T>& module) {
  ParameterCount count;
  for (const Parameter<T>* parameter : module.parameters()) {
    count.all += parameter->value.numel();
    if (parameter->trainable) count.trainable += parameter->value.numel();
  }
  return count;
}

/// "8394" as "8,394"
inline std::string with_thousands_separators(index_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// PEFT's line: "trainable params: 8,394 || all params: 4,259,204 || trainable%: 0.1971"
inline std::string to_string(const ParameterCount& count) {
  const double percent =
      count.all ? 100.0 * static_cast<double>(count.trainable) / static_cast<double>(count.all) : 0;
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", percent);
  return "trainable params: " + with_thousands_separators(count.trainable) +
         " || all params: " + with_thousands_separators(count.all) + " || trainable%: " + text;
}

}  // namespace lora::inline v0
