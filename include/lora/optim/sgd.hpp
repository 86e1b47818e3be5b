// SPDX-License-Identifier: MIT
#pragma once

#include <span>
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

  /// Each group has its own multiples of options.lr and options.weight_decay. Throws as Optimizer
  /// does.
  explicit SGD(std::span<const ParameterGroup<T>> groups, SGDOptions options = {})
      : Optimizer<T>(groups), options(options) {}

  SGDOptions options;  ///< may be changed between steps

 private:
  void update(Parameter<T>& parameter) override {
    if (parameter.grad.is_factored()) {
      ops::sgd_factored(parameter.grad.dy(), parameter.grad.x(), parameter.value,
                        options_of(parameter));
    } else {
      ops::sgd(parameter.grad.dense(), parameter.value, options_of(parameter));
    }
  }

  void update_linear(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                     const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) override {
    if (bias) bias->grad.accumulate_rows(dy);
    ops::linear_backward_sgd(dy, x, weight.value, dx, options_of(weight), relu_output);
  }

  void update_lora_linear(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b, const Tensor<T>& dy,
                          const Tensor<T>& x, const Tensor<T>& h, Tensor<T>& dh, Tensor<T>* dx,
                          double scale, const Tensor<T>* relu_output) override {
    ops::lora_linear_backward_input(dy, w, a.value, b.value, dh, dx, scale, relu_output);
    ops::sgd_factored(dh, x, a.value, options_of(a));
    ops::sgd_factored(dy, h, b.value, options_of(b));
  }

  SGDOptions options_of(const Parameter<T>& parameter) const {
    SGDOptions of_parameter = options;
    of_parameter.lr *= this->ratios_of(parameter).lr;
    of_parameter.weight_decay *= this->ratios_of(parameter).weight_decay;
    return of_parameter;
  }
};

template <class T>
SGD(std::vector<ParameterGroup<T>>, SGDOptions = {}) -> SGD<T>;

}  // namespace lora::inline v0
