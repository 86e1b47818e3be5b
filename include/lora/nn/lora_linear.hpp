// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/lora_linear.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// y = x Wᵀ + b + s (x Aᵀ) Bᵀ    x: (B, I), W: (O, I), A: (R, I), B: (O, R), y: (B, O), s = alpha/r
///
/// A Linear with a low-rank adapter. The Linear is shared, not copied, and stays usable. Three
/// states are independent of each other: what is trainable (each parameter's flag), whether the
/// adapter is enabled, and whether it is merged. While an adapter is merged and enabled, W itself
/// holds the update; disabling takes it out again, so a disabled layer is always the base, bit for
/// bit.
template <class T>
class LoRALinear final : public Module<T> {
 public:
  /// Throws ValueError unless 1 <= r <= min(in_features, out_features).
  LoRALinear(std::shared_ptr<Linear<T>> base, const LoRAConfig& config, Generator& generator)
      : base_(std::move(base)), lora_alpha_(config.lora_alpha), scale_(config.scale()) {
    const index_t in = base_->in_features();
    const index_t out = base_->out_features();
    if (config.r < 1 || config.r > in || config.r > out) {
      throw ValueError("LoRALinear: rank " + std::to_string(config.r) + " for " +
                       base_->to_string() + ": expected 1 to " + std::to_string(std::min(in, out)));
    }
    const Device device = base_->weight.value.device();
    Tensor<T> a({config.r, in});
    initialize(a, config, generator);
    lora_A = Parameter<T>(a.to(device));
    lora_B = Parameter<T>(Tensor<T>({out, config.r}, device));
  }

  LoRALinear(Linear<T> base, const LoRAConfig& config, Generator& generator)
      : LoRALinear(std::make_shared<Linear<T>>(std::move(base)), config, generator) {}

  const Linear<T>& base() const noexcept { return *base_; }
  index_t rank() const noexcept { return lora_A.value.dim(0); }
  double lora_alpha() const noexcept { return lora_alpha_; }
  double scale() const noexcept { return scale_; }

  bool enabled() const noexcept { return enabled_ && disables_ == 0; }
  void enable() {
    enabled_ = true;
    update_weight();
  }
  void disable() {
    enabled_ = false;
    update_weight();
  }

  bool merged() const noexcept { return merged_; }

  /// Adds s B A to W, so that a forward pass costs what the base costs.
  void merge() {
    merged_ = true;
    update_weight();
  }

  /// Takes the update out of W again: every bit of W is as it was before merge().
  void unmerge() {
    merged_ = false;
    update_weight();
  }

  /// W + s B A while the adapter is enabled, else W: what the layer multiplies by.
  Tensor<T> effective_weight() const {
    Tensor<T> weight = base_->weight.value;
    if (enabled() && !delta_) ops::lora_merge(lora_A.value, lora_B.value, weight, scale_);
    return weight;
  }

  std::string to_string() const override {
    return "LoRALinear(" + std::to_string(base_->in_features()) + ", " +
           std::to_string(base_->out_features()) + ", r=" + std::to_string(rank()) + ")";
  }

  bool fuses_relu() const override { return true; }

  /// The base keeps its names, so a model's paths do not change when it is adapted.
  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    base_->own_parameters(visit);
    visit("lora_A.weight", lora_A);
    visit("lora_B.weight", lora_B);
  }

  Parameter<T> lora_A;  ///< (R, I)
  Parameter<T> lora_B;  ///< (O, R)

 private:
  template <class U>
  friend class ScopedDisable;

  // What a merge added to W, and the elements of W that subtracting it again would not bring back.
  struct Delta {
    Tensor<T> a, b;
    std::vector<std::pair<index_t, T>> lost;
  };

  static void initialize(Tensor<T>& a, const LoRAConfig& config, Generator& generator) {
    switch (config.init_lora_weights) {
      case LoRAInit::kaiming_uniform: {
        const double bound = 1.0 / std::sqrt(static_cast<double>(a.dim(1)));
        return generator.uniform(a.span(), -bound, bound);
      }
      case LoRAInit::gaussian:
        return generator.normal(a.span(), 0.0, 1.0 / config.r);
      case LoRAInit::standard_normal:
        return generator.normal(a.span(), 0.0, 1.0);
    }
  }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    const Tensor<T>& weight = base_->weight.value;
    if (enabled() && !delta_) {
      ops::lora_linear(x, weight, base_->bias_value(), lora_A.value, lora_B.value,
                       saved.intermediates[0], saved.output, scale_, saved.activation);
    } else {
      ops::linear(x, weight, base_->bias_value(), saved.output, saved.activation);
    }
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (delta_ && this->has_trainable_parameters()) {
      throw ValueError(to_string() +
                       ": training needs the adapter apart from W; unmerge() it first");
    }
    const Tensor<T>& x = *saved.input;
    const Tensor<T>& weight = base_->weight.value;
    const Tensor<T>* relu_output = saved.input_is_relu ? &x : nullptr;
    if (enabled() && !delta_) {
      const Tensor<T>& h = saved.intermediates[0];
      Tensor<T>& dh = saved.intermediates[1];
      auto* optimizer = lora_A.update_in_backward;
      if (lora_A.can_update_in_backward() && lora_B.can_update_in_backward() &&
          lora_B.update_in_backward == optimizer) {
        optimizer->lora_linear_backward(weight, lora_A, lora_B, dy, x, h, dh, dx, scale_,
                                        relu_output);
      } else {
        ops::lora_linear_backward_input(dy, weight, lora_A.value, lora_B.value, dh, dx, scale_,
                                        relu_output);
        if (lora_A.trainable) lora_A.grad.accumulate_outer(dh, x);
        if (lora_B.trainable) lora_B.grad.accumulate_outer(dy, h);
      }
    } else if (dx) {
      ops::linear_backward_input(dy, weight, *dx, relu_output);
    }
    base_->accumulate_gradients(dy, x);
  }

  // Brings W in line with the states: it holds the update while merged and enabled.
  void update_weight() {
    const bool wanted = merged_ && enabled();
    if (wanted == (delta_ != nullptr)) return;
    Tensor<T>& weight = base_->weight.value;
    if (!wanted) {
      ops::lora_merge(delta_->a, delta_->b, weight, -scale_);
      restore(weight, delta_->lost);
      delta_.reset();
      return;
    }
    const Tensor<T> before = weight.to(Device::cpu);
    auto delta = std::make_unique<Delta>(Delta{lora_A.value, lora_B.value, {}});
    Tensor<T> merged = weight;
    ops::lora_merge(delta->a, delta->b, merged, scale_);
    Tensor<T> after = merged;
    ops::lora_merge(delta->a, delta->b, after, -scale_);
    after = after.to(Device::cpu);
    for (index_t i = 0; i < before.numel(); ++i) {
      if (std::memcmp(before.data() + i, after.data() + i, sizeof(T)) != 0) {
        delta->lost.emplace_back(i, before[i]);
      }
    }
    weight = std::move(merged);
    delta_ = std::move(delta);
  }

  static void restore(Tensor<T>& weight, const std::vector<std::pair<index_t, T>>& lost) {
    const Device device = weight.device();
    Tensor<T> host = device == Device::cpu ? std::move(weight) : weight.to(Device::cpu);
    for (const auto& [i, value] : lost) host[i] = value;
    weight = device == Device::cpu ? std::move(host) : host.to(device);
  }

  std::shared_ptr<Linear<T>> base_;
  double lora_alpha_;
  double scale_;
  bool enabled_ = true;
  bool merged_ = false;
  int disables_ = 0;  // how many ScopedDisable hold this layer
  std::unique_ptr<Delta> delta_;
};

}  // namespace lora::inline v0
