// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapted_module.hpp>
#include <lora/nn/adapter_merge.hpp>
#include <lora/nn/adapter_pass.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/make_adapter.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/pass_counter.hpp>
#include <lora/ops/lora_linear.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// y = x Wᵀ + b + s (x Aᵀ) Bᵀ    x: (B, I), W: (O, I), A: (R, I), B: (O, R), y: (B, O), s = alpha/r
///
/// A Linear with low-rank adapters, each with a name. The Linear is shared, not copied, and stays
/// usable. Four states are independent of each other: what is trainable (each parameter's flag),
/// which adapters are active, whether the layer is enabled, and whether it is merged. While it is
/// merged and enabled, W itself holds the update; disabling takes it out again, so a disabled layer
/// is always the base, bit for bit.
template <class T>
class LoRALinear final : public AdaptedModule<T> {
 public:
  /// With one adapter, which is active and no more than A and B: one with DoRA, dropout, biases or
  /// initial values that count is for add_adapter(), so that a program that needs none of them does
  /// not compile them. Throws ValueError on such a one, and unless 1 <= r <= min(in, out features).
  LoRALinear(std::shared_ptr<Linear<T>> base, const LoRAConfig& config, Generator& generator,
             std::string name = "default")
      : LoRALinear(std::move(base)) {
    require_name(name);
    if (!config.is_plain()) {
      throw ValueError("LoRALinear: only add_adapter() makes an adapter that is more than A and B");
    }
    auto adapter = detail::make_plain_adapter(*base_, config, generator, std::move(name));
    adapter->active = true;
    place(std::move(adapter));
  }

  LoRALinear(Linear<T> base, const LoRAConfig& config, Generator& generator,
             std::string name = "default")
      : LoRALinear(std::make_shared<Linear<T>>(std::move(base)), config, generator,
                   std::move(name)) {}

  /// Without adapters: the base.
  explicit LoRALinear(std::shared_ptr<Linear<T>> base) : base_(std::move(base)) {
    this->train(base_->training());
  }

  const Linear<T>& base() const noexcept { return *base_; }
  std::shared_ptr<Linear<T>> shared_base() const noexcept { return base_; }

  /// Adds an adapter that is not active yet. Throws ValueError when there is one of that name.
  LoRAAdapter<T>& add_adapter(std::string name, const LoRAConfig& config, Generator& generator) {
    require_name(name);
    return insert(detail::make_lora_adapter(*base_, config, generator, std::move(name)));
  }

  /// As above, of parts that exist.
  LoRAAdapter<T>& insert(std::unique_ptr<LoRAAdapter<T>> adapter) {
    require_name(adapter->name);
    run_together();
    return place(std::move(adapter));
  }

  void remove_adapter(const std::string& name) override {
    std::erase_if(adapters_, [&](const auto& adapter) { return adapter->name == name; });
    update();
  }

  /// The only adapter. Throws ValueError when there are several, or none.
  LoRAAdapter<T>& adapter() { return *adapters_[only_adapter()]; }
  const LoRAAdapter<T>& adapter() const { return *adapters_[only_adapter()]; }

  /// Throws ValueError when there is none of that name.
  LoRAAdapter<T>& adapter(const std::string& name) {
    LoRAAdapter<T>* const found = find_adapter(name);
    if (!found) throw_unknown(name);
    return *found;
  }

  /// Null when there is none of that name.
  LoRAAdapter<T>* find_adapter(const std::string& name) {
    for (const auto& adapter : adapters_) {
      if (adapter->name == name) return adapter.get();
    }
    return nullptr;
  }

  std::vector<std::string> adapter_names() const override {
    std::vector<std::string> names;
    for (const auto& adapter : adapters_) names.push_back(adapter->name);
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
      throw ValueError(to_string() + ": two adapters with biases of their own cannot be active");
    }
    for (const auto& adapter : adapters_) adapter->active = is_meant(*adapter);
    update();
  }

  /// Multiplies the adapter's scale by `strength`, which replaces the one given before.
  void set_strength(const std::string& name, double strength) {
    adapter(name).strength = strength;
    update();
  }

  bool merged() const noexcept { return merged_; }

  /// Adds the update of the active adapters to W, so that a forward pass costs what the base costs.
  /// Throws ValueError, and changes nothing, when W would not be finite.
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

  /// What merging does to W and to the bias, whether it has been done or not.
  MergeError merge_error() const {
    Tensor<T> weight = base_weight();
    return detail::AdapterMerge<T>().apply(*base_, active_, weight);
  }

  /// W with the update of the active adapters while the layer is enabled, else W: what the layer
  /// multiplies by.
  Tensor<T> effective_weight() const {
    if (!this->enabled() || update_in_weight_) return base_->weight.value;
    Tensor<T> weight = base_weight();
    detail::AdapterMerge<T>().apply(*base_, active_, weight);
    return weight.to(base_->weight.value.device());
  }

  std::string to_string() const override {
    std::string text = "LoRALinear(" + std::to_string(base_->in_features()) + ", " +
                       std::to_string(base_->out_features());
    for (const auto& adapter : adapters_) {
      text += adapters_.size() > 1 ? ", " + adapter->name + ": r=" : ", r=";
      text += std::to_string(adapter->rank());
    }
    return text + ")";
  }

  bool fuses_relu() const override { return true; }

  /// The base keeps its names, so a model's paths do not change when it is adapted.
  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    base_->own_parameters(visit);
    for (const auto& adapter : adapters_) adapter->for_each_parameter(visit);
  }

  void adapter_parameters(const std::string& name,
                          typename Module<T>::ParameterVisitor visit) override {
    if (LoRAAdapter<T>* const adapter = find_adapter(name)) adapter->for_each_parameter(visit);
  }

  void own_buffers(typename Module<T>::BufferVisitor visit) override {
    for (const auto& adapter : adapters_) {
      visit(adapter->initial_A);
      visit(adapter->initial_B);
    }
    if (merge_) visit(merge_->bias);
  }

 private:
  template <class U>
  friend class ScopedAdapterIds;

  void enabled_will_be(bool enabled) override { put_update_into_weight(merged_ && enabled); }

  void require_rows_can_differ() const override {
    if (!update_in_weight_) return;
    throw ValueError(to_string() + ": rows of one batch can use different adapters only while " +
                     "these are apart from W; unmerge() them first");
  }

  void run_together() { together_ = &detail::kAdapterPasses<T>; }

  LoRAAdapter<T>& place(std::unique_ptr<LoRAAdapter<T>> adapter) {
    adapters_.push_back(std::move(adapter));
    update();
    return *adapters_.back();
  }

  std::size_t only_adapter() const {
    if (adapters_.size() == 1) return 0;
    throw ValueError(to_string() + ": adapter() without a name needs one adapter, there are " +
                     std::to_string(adapters_.size()));
  }

  [[noreturn]] LORA_NEVER_INLINE void throw_unknown(const std::string& name) const {
    std::string names;
    for (const auto& adapter : adapters_) names += (names.empty() ? "" : ", ") + adapter->name;
    throw ValueError(to_string() + ": no adapter is named \"" + name +
                     "\"; there are: " + (names.empty() ? "none" : names));
  }

  void require_name(const std::string& name) {
    if (name.empty() || name.find('.') != std::string::npos) {
      throw ValueError("LoRALinear: \"" + name + "\" is no adapter's name: it must be non-empty " +
                       "and hold no dot");
    }
    if (find_adapter(name)) {
      throw ValueError("LoRALinear: there already is an adapter named \"" + name + "\"");
    }
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

  // Whether the one active adapter is A and B alone, which the fused kernels take.
  bool runs_fused() const {
    if (this->ids() || active_.size() != 1) return false;
    return active_.front()->is_plain() ||
           (active_.front()->is_plain_in_eval() && !this->training());
  }

  // Whether the pass is the base's: what the adapters add is nothing, or is in W.
  bool runs_base() const {
    return !this->enabled() || update_in_weight_ || (!this->ids() && active_.empty());
  }

  std::vector<LoRAAdapter<T>*> running_adapters() const {
    if (!this->ids()) return active_;
    std::vector<LoRAAdapter<T>*> all;
    for (const auto& adapter : adapters_) all.push_back(adapter.get());
    return all;
  }

  void require_ids_fit(const Tensor<T>& x) const {
    require_rows_can_differ();
    if (this->ids()->of_sample.numel() == x.dim(0)) return;
    throw ShapeError(to_string() + ": the batch has " + std::to_string(x.dim(0)) +
                     " samples, there are adapter ids for " +
                     std::to_string(this->ids()->of_sample.numel()));
  }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    const Tensor<T>& weight = base_->weight.value;
    if (this->ids() && this->enabled()) require_ids_fit(x);
    if (runs_base()) {
      const bool has_own_bias = update_in_weight_ && !merge_->bias.empty();
      ops::linear(x, weight, has_own_bias ? &merge_->bias : base_->bias_value(), saved.output,
                  saved.activation);
    } else if (runs_fused()) {
      const LoRAAdapter<T>& adapter = *active_.front();
      saved.intermediates.resize(2);
      ops::lora_linear(x, weight, base_->bias_value(), adapter.lora_A.value, adapter.lora_B.value,
                       saved.intermediates[0], saved.output, adapter.scaling(), saved.activation);
    } else {
      if (this->ids()) this->ids()->spread_over_rows(x, saved.row_ids);
      passes_.count(saved);
      together_->forward(*base_, running_adapters(), this->ids(), x, saved, this->training());
    }
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (update_in_weight_ && this->has_trainable_parameters()) {
      throw ValueError(to_string() +
                       ": training needs the adapter apart from W; unmerge() it first");
    }
    const Tensor<T>& x = *saved.input;
    const Tensor<T>& weight = base_->weight.value;
    const Tensor<T>* relu_output = saved.input_is_relu ? &x : nullptr;
    if (runs_base()) {
      if (dx) ops::linear_backward_input(dy, weight, *dx, relu_output);
    } else if (runs_fused()) {
      fused_backward(dy, saved, dx, relu_output);
    } else {
      return together_->backward(*base_, running_adapters(), this->ids(), x, saved,
                                 this->training(), dy, dx);
    }
    base_->accumulate_gradients(dy, x);
  }

  void fused_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx,
                      const Tensor<T>* relu_output) {
    LoRAAdapter<T>& adapter = *active_.front();
    Tensor<T>& h = saved.intermediates[0];
    Tensor<T>& dh = saved.intermediates[1];
    Parameter<T>& a = adapter.lora_A;
    Parameter<T>& b = adapter.lora_B;
    const Tensor<T>& x = *saved.input;
    const Tensor<T>& weight = base_->weight.value;
    if (a.can_update_in_backward() && b.can_update_in_backward() &&
        b.update_in_backward == a.update_in_backward) {
      return a.update_in_backward->lora_linear_backward(weight, a, b, dy, x, h, dh, dx,
                                                        adapter.scaling(), relu_output);
    }
    ops::lora_linear_backward_input(dy, weight, a.value, b.value, dh, dx, adapter.scaling(),
                                    relu_output);
    if (a.trainable) a.grad.accumulate_outer(dh, x);
    if (b.trainable) b.grad.accumulate_outer(dy, h);
  }

  // W without any update, on the CPU.
  Tensor<T> base_weight() const {
    Tensor<T> weight = base_->weight.value.to(Device::cpu);
    if (update_in_weight_) merge_->revert(weight);
    return weight;
  }

  void put_update_into_weight(bool wanted) {
    if (wanted == update_in_weight_) return;
    if (!wanted) {
      merge_->take_out(*base_);
    } else if (!merge_->put_in(*base_, active_)) {
      throw ValueError(to_string() + ": merged, the weight would not be finite");
    }
    update_in_weight_ = wanted;
  }

  std::shared_ptr<Linear<T>> base_;
  std::vector<std::unique_ptr<LoRAAdapter<T>>> adapters_;
  std::vector<LoRAAdapter<T>*> active_;
  bool merged_ = false;
  bool update_in_weight_ = false;
  // What a program that neither merges nor runs adapters together does not compile.
  std::unique_ptr<detail::WeightUpdate<T>> merge_;
  const detail::AdapterPasses<T>* together_ = nullptr;
  mutable detail::PassCounter passes_;  // so that each pass drops other inputs
};

}  // namespace lora::inline v0
