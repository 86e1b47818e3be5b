// SPDX-License-Identifier: MIT
#pragma once

#include <limits>
#include <memory>
#include <string>

#include <lora/detail/number_text.hpp>
#include <lora/nn/layer_norm.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/rms_norm.hpp>

namespace lora::inline v0 {

/// y = x / √(mean(x²) + eps) ∘ weight                    x, y: (..., D), weight: (D,)
///
/// The mean goes over the last size. Weights start as ones, as those of torch.nn.RMSNorm.
template <class T>
class RMSNorm final : public Module<T> {
 public:
  /// Throws ValueError on no features and on an eps below 0.
  explicit RMSNorm(index_t features, double eps = std::numeric_limits<T>::epsilon()) : eps_(eps) {
    detail::check_norm_options("RMSNorm", features, eps_);
    weight = Parameter<T>(detail::ones<T>(features));
  }

  index_t features() const noexcept { return weight.value.numel(); }
  double eps() const noexcept { return eps_; }

  std::string to_string() const override {
    return "RMSNorm(" + std::to_string(features()) + ", eps=" + detail::number_text(eps_) + ")";
  }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<RMSNorm>(*this); }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
  }

  Parameter<T> weight;  ///< (D,)

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    saved.intermediates.resize(1);
    ops::rms_norm(x, weight.value, saved.output, saved.intermediates[0], eps_);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    const auto run = [&](Tensor<T>* dweight, bool add) {
      ops::rms_norm_backward(dy, *saved.input, weight.value, saved.intermediates[0], dx, dweight,
                             add);
    };
    if (weight.trainable) {
      weight.grad.accumulate_with([&](Tensor<T>& dweight, bool add) { run(&dweight, add); });
    } else if (dx) {
      run(nullptr, false);
    }
  }

  double eps_;
};

}  // namespace lora::inline v0
