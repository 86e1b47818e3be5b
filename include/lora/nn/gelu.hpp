// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/activation.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/gelu.hpp>

namespace lora::inline v0 {

/// y = x Φ(x), or its approximation with tanh                x, y: any shape
template <class T>
class GELU final : public Module<T> {
 public:
  explicit GELU(GELUApproximation approximation = GELUApproximation::none)
      : approximation_(approximation) {}

  GELUApproximation approximation() const noexcept { return approximation_; }

  std::string to_string() const override {
    return approximation_ == GELUApproximation::tanh ? "GELU(approximate='tanh')" : "GELU()";
  }
  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<GELU>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::gelu(x, saved.output, approximation_);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) ops::gelu_backward(*saved.input, dy, *dx, approximation_);
  }

  GELUApproximation approximation_;
};

}  // namespace lora::inline v0
