// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <lora/gradient.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

template <class T>
struct Parameter;

/// An optimizer that updates weights while the backward pass is at them; see
/// Optimizer::backward_and_step.
template <class T>
class UpdateInBackward {
 public:
  /// dx = dy W unless dx is null, then the update of W with its gradient dyᵀ x.
  virtual void linear_backward(Parameter<T>& weight, const Tensor<T>& dy, const Tensor<T>& x,
                               Tensor<T>* dx) = 0;

 protected:
  ~UpdateInBackward() = default;
};

/// What a layer learns: a value, its gradient, and whether training may change it.
template <class T>
struct Parameter {
  Parameter() = default;
  explicit Parameter(Tensor<T> initial) : value(std::move(initial)) {}

  Tensor<T> value;
  Gradient<T> grad;
  bool trainable = true;
  UpdateInBackward<T>* update_in_backward = nullptr;  ///< set during backward_and_step alone
};

}  // namespace lora::inline v0
