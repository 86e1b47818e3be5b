// SPDX-License-Identifier: MIT
#pragma once

#include <lora/ops/linear.hpp>
#include <lora/ops/lora_linear.hpp>
#include <lora/parameter.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// Adds to the gradients of the parameters that are trainable. A class of virtual functions, which
/// layers meet through Saved alone, so that a program that only runs forward passes does not
/// compile these.
template <class T>
class GradientAccumulation final : public LinearBackward<T> {
 public:
  static GradientAccumulation& instance() {
    static GradientAccumulation accumulation;
    return accumulation;
  }

  void linear_backward(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                       const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) override {
    if (dx) ops::linear_backward_input(dy, weight.value, *dx, relu_output);
    if (weight.trainable) weight.grad.accumulate_outer(dy, x);
    if (bias && bias->trainable) bias->grad.accumulate_rows(dy);
  }

  void lora_linear_backward(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b,
                            const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& h,
                            Tensor<T>& dh, Tensor<T>* dx, double scale,
                            const Tensor<T>* relu_output) override {
    ops::lora_linear_backward_input(dy, w, a.value, b.value, dh, dx, scale, relu_output);
    if (a.trainable) a.grad.accumulate_outer(dh, x);
    if (b.trainable) b.grad.accumulate_outer(dy, h);
  }
};

}  // namespace lora::inline v0::detail
