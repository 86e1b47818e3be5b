// SPDX-License-Identifier: MIT
#pragma once

#include <utility>
#include <vector>

#include <lora/parameter.hpp>

namespace lora::inline v0 {

/// What optimizers share: which parameters they update. The parameters must outlive the optimizer.
template <class T>
class Optimizer {
 public:
  explicit Optimizer(std::vector<Parameter<T>*> parameters) : parameters_(std::move(parameters)) {}
  virtual ~Optimizer() = default;

  /// Applies the gradient of every trainable parameter that has one, then clears all gradients.
  void step() {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Parameter<T>& parameter = *parameters_[i];
      if (parameter.trainable && !parameter.grad.empty()) update(i, parameter);
    }
    zero_grad();
  }

  /// Drops the gradients unused.
  void zero_grad() {
    for (Parameter<T>* parameter : parameters_) parameter->grad.clear();
  }

 private:
  virtual void update(std::size_t index, Parameter<T>& parameter) = 0;

  std::vector<Parameter<T>*> parameters_;
};

}  // namespace lora::inline v0
