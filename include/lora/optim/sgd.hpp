// SPDX-License-Identifier: MIT
#pragma once

#include <utility>
#include <vector>

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
  void update(std::size_t, Parameter<T>& parameter) override {
    if (parameter.grad.is_factored()) {
      ops::sgd_factored(parameter.grad.dy(), parameter.grad.x(), parameter.value, options);
    } else {
      ops::sgd(parameter.grad.dense(), parameter.value, options);
    }
  }

  void update_linear(std::size_t, Parameter<T>& weight, const Tensor<T>& dy, const Tensor<T>& x,
                     Tensor<T>* dx) override {
    ops::linear_backward_sgd(dy, x, weight.value, dx, options);
  }
};

}  // namespace lora::inline v0
