// SPDX-License-Identifier: MIT
#pragma once

#include <utility>
#include <vector>

#include <lora/ops/lora_linear.hpp>
#include <lora/ops/sgd.hpp>
#include <lora/optim/optimizer.hpp>

namespace lora::inline v0 {

/// Plain stochastic gradient descent: p -= lr (g + weight_decay p).
template <class T>
class SGD final : public Optimizer<T> {
 public:
  explicit SGD(std::vector<Parameter<T>*> parameters, SGDOptions options = {})
      : Optimizer<T>(std::move(parameters)), options(options) {}

  SGDOptions options;  ///< may be changed between steps

 private:
  void update(Parameter<T>& parameter) override {
    if (parameter.grad.is_factored()) {
      ops::sgd_factored(parameter.grad.dy(), parameter.grad.x(), parameter.value, options);
    } else {
      ops::sgd(parameter.grad.dense(), parameter.value, options);
    }
  }

  void update_linear(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                     const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) override {
    if (bias) bias->grad.accumulate_rows(dy);
    ops::linear_backward_sgd(dy, x, weight.value, dx, options, relu_output);
  }

  void update_lora_linear(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b, const Tensor<T>& dy,
                          const Tensor<T>& x, const Tensor<T>& h, Tensor<T>& dh, Tensor<T>* dx,
                          double scale, const Tensor<T>* relu_output) override {
    ops::lora_linear_backward_input(dy, w, a.value, b.value, dh, dx, scale, relu_output);
    ops::sgd_factored(dh, x, a.value, options);
    ops::sgd_factored(dy, h, b.value, options);
  }
};

}  // namespace lora::inline v0
