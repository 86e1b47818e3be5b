// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapted_module.hpp>
#include <lora/nn/adapter_merge.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0 {

/// A layer with low-rank adapters, each with a name: what those of every kind have in common. Four
/// states are independent of each other: what is trainable (each parameter's flag), which adapters
/// are active, whether the layer is enabled, and whether it is merged. While it is merged and
/// enabled, W itself holds the update; disabling takes it out again, so a disabled layer is always
/// the base, bit for bit.
template <class T>
class LoRALayer : public AdaptedModule<T> {
 public:
  /// The layer that the adapters change, which knows nothing of them.
  virtual std::shared_ptr<Module<T>> base_module() const = 0;

  /// Adds an adapter of parts that exist, not active yet. Throws ValueError when there is one of
  /// that name, unless both are of slices that differ.
  LoRAAdapter<T>& insert(std::unique_ptr<LoRAAdapter<T>> adapter) {
    require_name(adapter->name, adapter->slice);
    adapters_.push_back(std::move(adapter));
    update();
    return *adapters_.back();
  }

  void remove_adapter(const std::string& name) override {
    std::erase_if(adapters_, [&](const auto& adapter) { return adapter->name == name; });
    update();
  }

  /// The only adapter. Throws ValueError when there are several, or none.
  LoRAAdapter<T>& adapter() { return *adapters_[only_adapter()]; }
  const LoRAAdapter<T>& adapter() const { return *adapters_[only_adapter()]; }

  /// Throws ValueError when there is none of that name.
  LoRAAdapter<T>& adapter(const std::string& name, const std::string& slice = "") {
    LoRAAdapter<T>* const found = find_adapter(name, slice);
    if (!found) throw_unknown(name, slice);
    return *found;
  }

  /// Null when there is none of that name.
  LoRAAdapter<T>* find_adapter(const std::string& name, const std::string& slice = "") {
    for (const auto& adapter : adapters_) {
      if (adapter->name == name && adapter->slice == slice) return adapter.get();
    }
    return nullptr;
  }

  /// What there is of an adapter: nothing, one, or one for each of some slices of the layer.
  std::vector<LoRAAdapter<T>*> parts_of_adapter(const std::string& name) {
    std::vector<LoRAAdapter<T>*> parts;
    for (const auto& adapter : adapters_) {
      if (adapter->name == name) parts.push_back(adapter.get());
    }
    return parts;
  }

  std::vector<std::string> adapter_names() const override {
    std::vector<std::string> names;
    for (const auto& adapter : adapters_) {
      if (std::find(names.begin(), names.end(), adapter->name) == names.end()) {
        names.push_back(adapter->name);
      }
    }
    return names;
  }

  void set_active(const std::vector<std::string>& names) override {
    int own_biases = 0;
    const auto is_meant = [&](const LoRAAdapter<T>& adapter) {
      return std::find(names.begin(), names.end(), adapter.name) != names.end();
    };
    for (const auto& adapter : adapters_) {
      own_biases += is_meant(*adapter) && !adapter->bias.value.empty();
    }
    if (own_biases > 1) {
      throw ValueError(this->to_string() +
                       ": two adapters with biases of their own cannot be active");
    }
    for (const auto& adapter : adapters_) adapter->active = is_meant(*adapter);
    update();
  }

  /// Multiplies the adapter's scale by `strength`, which replaces the one given before.
  void set_strength(const std::string& name, double strength) {
    const auto parts = parts_of_adapter(name);
    if (parts.empty()) throw_unknown(name, "");
    for (LoRAAdapter<T>* part : parts) part->strength = strength;
    update();
  }

  bool merged() const noexcept { return merged_; }

  /// Adds the update of the active adapters to W, so that a forward pass costs what the base costs.
  /// Throws ValueError, and changes nothing, when W would not be finite or no W does what the
  /// adapters do.
  void merge() {
    if (!merge_) merge_ = std::make_unique<detail::AdapterMerge<T>>();
    put_update_into_weight(this->enabled());
    merged_ = true;
  }

  /// Takes the update out of W again: every bit of W is as it was before merge().
  void unmerge() {
    put_update_into_weight(false);
    merged_ = false;
  }

  /// What merging does to W and to the bias, whether it has been done or not. Throws ValueError
  /// where no W does what the adapters do.
  MergeError merge_error() const {
    Tensor<T> weight = base_weight();
    return detail::AdapterMerge<T>().apply(adapted_weight(), active_, weight);
  }

  /// W with the update of the active adapters while the layer is enabled, else W: what the layer
  /// computes with.
  Tensor<T> effective_weight() const {
    const Tensor<T>& value = adapted_weight().weight;
    if (!this->enabled() || update_in_weight_) return value;
    Tensor<T> weight = base_weight();
    detail::AdapterMerge<T>().apply(adapted_weight(), active_, weight);
    return weight.to(value.device());
  }

  /// The base keeps its names, so a model's paths do not change when it is adapted.
  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    base_module()->own_parameters(visit);
    for (const auto& adapter : adapters_) adapter->for_each_parameter(visit);
  }

  void adapter_parameters(const std::string& name,
                          typename Module<T>::ParameterVisitor visit) override {
    for (LoRAAdapter<T>* part : parts_of_adapter(name)) part->for_each_parameter(visit);
  }

  void own_buffers(typename Module<T>::BufferVisitor visit) override {
    for (const auto& adapter : adapters_) {
      visit(adapter->initial_A);
      visit(adapter->initial_B);
    }
    if (merge_) visit(merge_->bias);
  }

 protected:
  /// The base's weight, and how A and B lie to it. Throws ValueError where no weight does what the
  /// adapters do.
  virtual detail::AdaptedWeight<T> adapted_weight() const = 0;

  const std::vector<std::unique_ptr<LoRAAdapter<T>>>& adapters() const noexcept {
    return adapters_;
  }
  const std::vector<LoRAAdapter<T>*>& active() const noexcept { return active_; }
  bool update_in_weight() const noexcept { return update_in_weight_; }

  /// The base's bias, or what a merge has made of it; null where there is none.
  const Tensor<T>* bias_or(const Tensor<T>* of_base) const noexcept {
    return update_in_weight_ && !merge_->bias.empty() ? &merge_->bias : of_base;
  }

  /// Throws ValueError unless the adapters can be trained as they are.
  void require_apart_from_weight() {
    if (!update_in_weight_ || !this->has_trainable_parameters()) return;
    throw ValueError(this->to_string() +
                     ": training needs the adapter apart from W; unmerge() it first");
  }

  /// "r=8", or with several adapters "default: r=8, other: r=4", or with slices "q: r=8, v: r=4".
  std::string ranks() const {
    std::string text;
    for (const auto& adapter : adapters_) {
      if (!text.empty()) text += ", ";
      if (adapter_names().size() > 1) text += adapter->name + (adapter->slice.empty() ? ": " : " ");
      if (!adapter->slice.empty()) text += adapter->slice + ": ";
      text += "r=" + std::to_string(adapter->rank());
    }
    return text;
  }

  void require_name(const std::string& name, const std::string& slice = "") {
    if (name.empty() || name.find('.') != std::string::npos) {
      throw ValueError(this->to_string() + ": \"" + name +
                       "\" is no adapter's name: it must be non-empty and hold no dot");
    }
    for (const LoRAAdapter<T>* part : parts_of_adapter(name)) {
      if (part->slice != slice && !part->slice.empty() && !slice.empty()) continue;
      throw ValueError(this->to_string() + ": there already is an adapter named \"" + name + "\"");
    }
  }

  void require_rows_can_differ() const override {
    if (!update_in_weight_) return;
    throw ValueError(this->to_string() + ": rows of one batch can use different adapters only " +
                     "while these are apart from W; unmerge() them first");
  }

 private:
  void enabled_will_be(bool enabled) override { put_update_into_weight(merged_ && enabled); }

  std::size_t only_adapter() const {
    if (adapters_.size() == 1) return 0;
    throw ValueError(this->to_string() +
                     ": adapter() without a name needs one adapter, there are " +
                     std::to_string(adapters_.size()));
  }

  [[noreturn]] LORA_NEVER_INLINE void throw_unknown(const std::string& name,
                                                    const std::string& slice) const {
    const auto text = [](const std::string& of, const std::string& on) {
      return of + (on.empty() ? "" : " on " + on);
    };
    std::string names;
    for (const auto& adapter : adapters_) {
      names += (names.empty() ? "" : ", ") + text(adapter->name, adapter->slice);
    }
    throw ValueError(this->to_string() + ": no adapter is named \"" + text(name, slice) +
                     "\"; there are: " + (names.empty() ? "none" : names));
  }

  // Brings what is derived from the adapters in line with them.
  void update() {
    active_.clear();
    for (const auto& adapter : adapters_) {
      if (adapter->active) active_.push_back(adapter.get());
    }
    if (!update_in_weight_) return;
    put_update_into_weight(false);
    put_update_into_weight(true);
  }

  // W without any update, on the CPU.
  Tensor<T> base_weight() const {
    Tensor<T> weight = adapted_weight().weight.to(Device::cpu);
    if (update_in_weight_) merge_->revert(weight);
    return weight;
  }

  void put_update_into_weight(bool wanted) {
    if (wanted == update_in_weight_) return;
    if (!wanted) {
      merge_->take_out(adapted_weight());
    } else if (!merge_->put_in(adapted_weight(), active_)) {
      throw ValueError(this->to_string() + ": merged, the weight would not be finite");
    }
    update_in_weight_ = wanted;
  }

  std::vector<std::unique_ptr<LoRAAdapter<T>>> adapters_;
  std::vector<LoRAAdapter<T>*> active_;
  bool merged_ = false;
  bool update_in_weight_ = false;
  // By pointer, so that a program that does not merge does not compile it.
  std::unique_ptr<detail::WeightUpdate<T>> merge_;
};

}  // namespace lora::inline v0
