// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/sgd.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// p -= lr (g + weight_decay p)

namespace lora::inline v0 {

struct SGDOptions {
  double lr = 1e-2;
  double weight_decay = 0;  ///< L2, added to the gradient
};

}  // namespace lora::inline v0

namespace lora::inline v0::ops {

/// One step of gradient descent. Both tensors have one shape.
template <class T>
void sgd(const Tensor<T>& gradient, Tensor<T>& value, const SGDOptions& options) {
  detail::require_same_shape("sgd", "gradient", gradient, "value", value);
  detail::dispatch<T>("sgd", value.device(), cpu::sgd<T>, &detail::Backend::sgd, gradient.vector(),
                      value.vector(), options.lr, options.weight_decay);
}

/// As sgd, with the gradient dyᵀ x given by its factors: dy (B, O), x (B, I), value (O, I).
template <class T>
void sgd_factored(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& value,
                  const SGDOptions& options) {
  constexpr const char* kOp = "sgd_factored";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_equal_dims(kOp, "dy", dy, 1, "value", value, 0);
  detail::require_equal_dims(kOp, "x", x, 1, "value", value, 1);
  detail::dispatch<T>(kOp, value.device(), cpu::sgd_factored<T>, &detail::Backend::sgd_factored,
                      dy.matrix(), x.matrix(), value.matrix(), options.lr, options.weight_decay);
}

/// The backward pass of a linear layer and the update of its weight: linear_backward_input, unless
/// dx is null, and then sgd_factored. The same bits as the two, in one visit of the weight.
template <class T>
void linear_backward_sgd(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& value, Tensor<T>* dx,
                         const SGDOptions& options, const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "linear_backward_sgd";
  const MatrixView<T> input_gradient =
      detail::prepare_backward_update(kOp, dy, x, value, relu_output, dx);
  detail::dispatch<T>(kOp, value.device(), cpu::linear_backward_sgd<T>,
                      &detail::Backend::linear_backward_sgd, dy.matrix(), x.matrix(),
                      value.matrix(), detail::optional_matrix(relu_output), input_gradient,
                      options.lr, options.weight_decay);
}

}  // namespace lora::inline v0::ops
