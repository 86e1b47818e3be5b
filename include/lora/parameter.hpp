// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <lora/gradient.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

template <class T>
struct Parameter;

/// What the backward pass of a linear layer makes of the gradients of its parameters: it adds to
/// Parameter::grad, as Module::backward has it, or an optimizer updates the values at once, as
/// Optimizer::backward_and_step has it.
template <class T>
class LinearBackward {
 public:
  /// The backward pass of y = x Wᵀ + b. `bias` is null where there is none; `dx`, when nobody needs
  /// it; `relu_output`, when the layer's input did not come from a ReLU.
  virtual void linear_backward(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                               const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) = 0;

  /// The backward pass of y = x Wᵀ + b + h Bᵀ with h = scale x Aᵀ, but for W and b.
  virtual void lora_linear_backward(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b,
                                    const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& h,
                                    Tensor<T>& dh, Tensor<T>* dx, double scale,
                                    const Tensor<T>* relu_output) = 0;

 protected:
  ~LinearBackward() = default;
};

/// What a layer learns: a value, its gradient, and whether training may change it.
template <class T>
struct Parameter {
  Parameter() = default;
  explicit Parameter(Tensor<T> initial) : value(std::move(initial)) {}

  /// Whether the backward pass may hand this parameter's update to the optimizer: it is in
  /// backward_and_step, and no gradient waits to be added.
  bool can_update_in_backward() const { return trainable && update_in_backward && grad.empty(); }

  Tensor<T> value;
  Gradient<T> grad;
  bool trainable = true;
  LinearBackward<T>* update_in_backward = nullptr;  ///< set during backward_and_step alone
};

}  // namespace lora::inline v0
