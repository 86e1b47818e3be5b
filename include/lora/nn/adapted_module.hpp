// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <lora/nn/module.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// Which adapter each sample of a batch uses: its number, or -1 for the base.
struct AdapterIds {
  Tensor<std::int32_t> of_sample;  // (B,), on the model's device
  std::vector<std::string> names;  // the adapters that the numbers stand for

  /// -1: none of them.
  std::int32_t number_of(const std::string& name) const {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return static_cast<std::int32_t>(i);
    }
    return -1;
  }

  /// The ids of the rows of x, a batch of `of_sample.numel()` samples with equally many rows each:
  /// one, or the tokens of a sequence.
  template <class T>
  Tensor<std::int32_t> of_rows(const Tensor<T>& x) const {
    const index_t samples = of_sample.numel();
    if (x.rows() == samples) return of_sample;
    const Tensor<std::int32_t> on_host = of_sample.to(Device::cpu);
    Tensor<std::int32_t> repeated({x.rows()});
    for (index_t i = 0; i < x.rows(); ++i) repeated[i] = on_host[i / (x.rows() / samples)];
    return repeated.to(of_sample.device());
  }
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// A layer that named adapters change: some of them active, all of them to be disabled at once.
template <class T>
class AdaptedModule : public Module<T> {
 public:
  virtual std::vector<std::string> adapter_names() const = 0;

  /// Makes the adapters of these names active, and no other; names that the layer does not have are
  /// passed over. What is trainable does not change. Throws ValueError where two adapters cannot be
  /// active together.
  virtual void set_active(const std::vector<std::string>& names) = 0;

  /// Removes the adapter of that name, if the layer has it.
  virtual void remove_adapter(const std::string& name) = 0;

  /// Calls visit(name, parameter) for what the adapter of that name learns; the names are PEFT's
  /// within the layer, such as "lora_A.default.weight".
  virtual void adapter_parameters(const std::string& name,
                                  typename Module<T>::ParameterVisitor visit) = 0;

  /// A layer that is not enabled is its base, bit for bit.
  bool enabled() const noexcept { return enabled_ && disables_ == 0; }
  void enable() {
    enabled_will_be(disables_ == 0);
    enabled_ = true;
  }
  void disable() {
    enabled_will_be(false);
    enabled_ = false;
  }

 protected:
  AdaptedModule() = default;
  AdaptedModule(AdaptedModule&&) noexcept = default;
  AdaptedModule& operator=(AdaptedModule&&) noexcept = default;

  /// Null unless a ScopedAdapterIds holds the layer.
  const detail::AdapterIds* ids() const noexcept { return ids_; }

 private:
  template <class U>
  friend class ScopedDisable;
  template <class U>
  friend class ScopedAdapterIds;

  virtual void enabled_will_be(bool) {}

  /// Throws ValueError when the layer cannot run rows that use different adapters.
  virtual void require_rows_can_differ() const {}

  bool enabled_ = true;
  int disables_ = 0;  // how many ScopedDisable hold this layer
  const detail::AdapterIds* ids_ = nullptr;
};

}  // namespace lora::inline v0
