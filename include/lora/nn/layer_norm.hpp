// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/detail/number_text.hpp>
#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/ops/layer_norm.hpp>

namespace lora::inline v0::detail {

LORA_NEVER_INLINE inline void check_norm_options(const char* layer, index_t features, double eps) {
  if (features < 1) {
    throw ValueError(std::string(layer) + ": features is " + std::to_string(features) +
                     ", it must be at least 1");
  }
  if (!(eps >= 0)) {
    throw ValueError(std::string(layer) + ": eps is " + number_text(eps) + ", expected eps >= 0");
  }
}

/// The weight that a norm starts from.
template <class T>
Tensor<T> ones(index_t features) {
  Tensor<T> x({features});
  ops::fill(x, 1.0);
  return x;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

struct LayerNormOptions {
  double eps = 1e-5;
  bool bias = true;
};

/// y = (x - mean) / √(var + eps) ∘ weight + bias         x, y: (..., D), weight, bias: (D,)
///
/// Mean and variance go over the last size. Weights start as ones, biases as zeros, as those of
/// torch.nn.LayerNorm.
template <class T>
class LayerNorm final : public Module<T> {
 public:
  /// Throws ValueError on no features and on an eps below 0.
  explicit LayerNorm(index_t features, const LayerNormOptions& options = {})
      : eps_(options.eps), has_bias_(options.bias) {
    detail::check_norm_options("LayerNorm", features, eps_);
    weight = Parameter<T>(detail::ones<T>(features));
    if (has_bias_) bias.value = Tensor<T>({features});
  }

  index_t features() const noexcept { return weight.value.numel(); }
  double eps() const noexcept { return eps_; }
  bool has_bias() const noexcept { return has_bias_; }

  std::string to_string() const override {
    return "LayerNorm(" + std::to_string(features()) + ", eps=" + detail::number_text(eps_) +
           (has_bias_ ? ")" : ", bias=false)");
  }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<LayerNorm>(*this); }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
    if (has_bias_) visit("bias", bias);
  }

  Parameter<T> weight;  ///< (D,)
  Parameter<T> bias;    ///< (D,), or empty

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    saved.intermediates.resize(2);
    ops::layer_norm(x, weight.value, has_bias_ ? &bias.value : nullptr, saved.output,
                    saved.intermediates[0], saved.intermediates[1], eps_);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    const auto run = [&](Tensor<T>* dweight, bool add_weight, Tensor<T>* dbias, bool add_bias) {
      if (!dx && !dweight && !dbias) return;
      ops::layer_norm_backward(dy, *saved.input, weight.value, saved.intermediates[0],
                               saved.intermediates[1], dx, dweight, dbias, add_weight, add_bias);
    };
    const auto with_bias = [&](Tensor<T>* dweight, bool add_weight) {
      if (!has_bias_ || !bias.trainable) return run(dweight, add_weight, nullptr, false);
      bias.grad.accumulate_with(
          [&](Tensor<T>& dbias, bool add) { run(dweight, add_weight, &dbias, add); });
    };
    if (!weight.trainable) return with_bias(nullptr, false);
    weight.grad.accumulate_with([&](Tensor<T>& dweight, bool add) { with_bias(&dweight, add); });
  }

  double eps_;
  bool has_bias_;
};

}  // namespace lora::inline v0
