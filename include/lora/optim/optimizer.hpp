// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/parameter.hpp>

namespace lora::inline v0 {

/// What optimizers share: which parameters they update. The parameters must outlive the optimizer.
template <class T>
class Optimizer : private UpdateInBackward<T> {
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

  /// module.backward(dy, saved, dx) and step(), with the same result to the bit and less traffic:
  /// the weight of a Linear is visited once, for the gradient of its input, its own gradient, which
  /// is formed in registers, and the update. Throws ValueError when a weight is used twice in the
  /// module: its second use would see the updated one.
  void backward_and_step(Module<T>& module, const Tensor<T>& dy, Saved<T>& saved,
                         Tensor<T>* dx = nullptr) {
    updated_.assign(parameters_.size(), false);
    const struct Attached {
      std::vector<Parameter<T>*>& parameters;
      Attached(std::vector<Parameter<T>*>& parameters, UpdateInBackward<T>* optimizer)
          : parameters(parameters) {
        for (Parameter<T>* parameter : parameters) parameter->update_in_backward = optimizer;
      }
      ~Attached() {
        for (Parameter<T>* parameter : parameters) parameter->update_in_backward = nullptr;
      }
    } attached(parameters_, this);
    module.backward(dy, saved, dx);
    step();
  }

  /// Drops the gradients unused.
  void zero_grad() {
    for (Parameter<T>* parameter : parameters_) parameter->grad.clear();
  }

 private:
  virtual void update(std::size_t index, Parameter<T>& parameter) = 0;

  /// dx = dy W unless dx is null, and the update of W, the index-th parameter, by dyᵀ x.
  virtual void update_linear(std::size_t index, Parameter<T>& weight, const Tensor<T>& dy,
                             const Tensor<T>& x, Tensor<T>* dx) = 0;

  void linear_backward(Parameter<T>& weight, const Tensor<T>& dy, const Tensor<T>& x,
                       Tensor<T>* dx) final {
    const auto index = static_cast<std::size_t>(
        std::find(parameters_.begin(), parameters_.end(), &weight) - parameters_.begin());
    if (updated_[index]) {
      throw ValueError("backward_and_step: a weight of shape " + weight.value.shape().to_string() +
                       " is used twice; call backward() and step()");
    }
    updated_[index] = true;
    update_linear(index, weight, dy, x, dx);
  }

  std::vector<Parameter<T>*> parameters_;
  std::vector<bool> updated_;  // in this backward pass
};

}  // namespace lora::inline v0
