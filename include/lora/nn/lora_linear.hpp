// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapter_pass.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/lora_layer.hpp>
#include <lora/nn/make_adapter.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/pass_counter.hpp>
#include <lora/ops/lora_linear.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// y = x Wᵀ + b + s (x Aᵀ) Bᵀ    x: (B, I), W: (O, I), A: (R, I), B: (O, R), y: (B, O), s = alpha/r
///
/// A Linear with low-rank adapters. The Linear is shared, not copied, and stays usable.
template <class T>
class LoRALinear final : public LoRALayer<T> {
 public:
  /// With one adapter, which is active and no more than A and B: one with DoRA, dropout, biases or
  /// initial values that count is for add_adapter(), so that a program that needs none of them does
  /// not compile them. Throws ValueError on such a one, and unless 1 <= r <= min(in, out features).
  LoRALinear(std::shared_ptr<Linear<T>> base, const LoRAConfig& config, Generator& generator,
             std::string name = "default")
      : LoRALinear(std::move(base)) {
    this->require_name(name);
    if (!config.is_plain()) {
      throw ValueError("LoRALinear: only add_adapter() makes an adapter that is more than A and B");
    }
    auto adapter = detail::make_plain_adapter(*base_, config, generator, std::move(name));
    adapter->active = true;
    LoRALayer<T>::insert(std::move(adapter));
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
  std::shared_ptr<Module<T>> base_module() const override { return base_; }

  /// Adds an adapter that is not active yet, of a slice of the base's unless it is null. Throws
  /// ValueError when there is one of that name, unless both are of slices that differ.
  LoRAAdapter<T>& add_adapter(std::string name, const LoRAConfig& config, Generator& generator,
                              const OutputSlice* slice = nullptr) {
    this->require_name(name, slice ? slice->name : "");
    return insert(detail::make_lora_adapter(*base_, config, generator, std::move(name), slice));
  }

  /// As above, of parts that exist.
  LoRAAdapter<T>& insert(std::unique_ptr<LoRAAdapter<T>> adapter) {
    run_together();
    return LoRALayer<T>::insert(std::move(adapter));
  }

  std::string to_string() const override {
    const std::string ranks = this->ranks();
    return "LoRALinear(" + std::to_string(base_->in_features()) + ", " +
           std::to_string(base_->out_features()) + (ranks.empty() ? "" : ", ") + ranks + ")";
  }

  bool fuses_relu() const override { return true; }

 private:
  template <class U>
  friend class ScopedAdapterIds;

  detail::AdaptedWeight<T> adapted_weight() const override {
    return {base_->weight.value, base_->bias_value()};
  }

  void run_together() { together_ = &detail::kAdapterPasses<T>; }

  // Whether the one active adapter is A and B alone, which the fused kernels take.
  bool runs_fused() const {
    if (this->ids() || this->active().size() != 1) return false;
    const LoRAAdapter<T>& adapter = *this->active().front();
    return adapter.is_plain() || (adapter.is_plain_in_eval() && !this->training());
  }

  // Whether the pass is the base's: what the adapters add is nothing, or is in W.
  bool runs_base() const {
    return !this->enabled() || this->update_in_weight() || (!this->ids() && this->active().empty());
  }

  std::vector<LoRAAdapter<T>*> running_adapters() const {
    if (!this->ids()) return this->active();
    std::vector<LoRAAdapter<T>*> all;
    for (const auto& adapter : this->adapters()) all.push_back(adapter.get());
    return all;
  }

  void require_ids_fit(const Tensor<T>& x) const {
    this->require_rows_can_differ();
    if (this->ids()->of_sample.numel() == x.dim(0)) return;
    throw ShapeError(to_string() + ": the batch has " + std::to_string(x.dim(0)) +
                     " samples, there are adapter ids for " +
                     std::to_string(this->ids()->of_sample.numel()));
  }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    const Tensor<T>& weight = base_->weight.value;
    if (this->ids() && this->enabled()) require_ids_fit(x);
    if (runs_base()) {
      ops::linear(x, weight, this->bias_or(base_->bias_value()), saved.output, saved.activation);
    } else if (runs_fused()) {
      const LoRAAdapter<T>& adapter = *this->active().front();
      saved.intermediates.resize(2);
      ops::lora_linear(x, weight, base_->bias_value(), adapter.lora_A.value, adapter.lora_B.value,
                       saved.intermediates[0], saved.output, adapter.scaling(), saved.activation);
    } else {
      passes_.count(saved);
      together_->forward(*base_, running_adapters(), this->ids(), x, saved, this->training());
    }
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    this->require_apart_from_weight();
    const Tensor<T>& x = *saved.input;
    const Tensor<T>* relu_output = saved.input_is_relu ? &x : nullptr;
    if (runs_base()) {
      saved.accumulation->linear_backward(base_->weight, base_->bias_or_null(), dy, x, dx,
                                          relu_output);
    } else if (runs_fused()) {
      fused_backward(dy, saved, dx, relu_output);
    } else {
      together_->backward(*base_, running_adapters(), this->ids(), x, saved, this->training(), dy,
                          dx);
    }
  }

  void fused_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx,
                      const Tensor<T>* relu_output) {
    LoRAAdapter<T>& adapter = *this->active().front();
    Parameter<T>& a = adapter.lora_A;
    Parameter<T>& b = adapter.lora_B;
    const Tensor<T>& x = *saved.input;
    const bool updates = a.can_update_in_backward() && b.can_update_in_backward() &&
                         b.update_in_backward == a.update_in_backward;
    LinearBackward<T>& pass = updates ? *a.update_in_backward : *saved.accumulation;
    pass.lora_linear_backward(base_->weight.value, a, b, dy, x, saved.intermediates[0],
                              saved.intermediates[1], dx, adapter.scaling(), relu_output);
    saved.accumulation->linear_backward(base_->weight, base_->bias_or_null(), dy, x, nullptr,
                                        nullptr);
  }

  std::shared_ptr<Linear<T>> base_;
  // By pointer, so that a program that does not run adapters together does not compile it.
  const detail::AdapterPasses<T>* together_ = nullptr;
  mutable detail::PassCounter passes_;  // so that each pass drops other inputs
};

}  // namespace lora::inline v0
