// SPDX-License-Identifier: MIT
#pragma once

#include <lora/activation.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

// y = x Wᵀ + b                       x: (B, I) or (…, I), W: (O, I), b: (O,), y: (B, O) or (…, O)
// dx = dy W,  dW = dyᵀ x,  db = Σ_rows dy
//
// A ReLU behind the layer is applied to y before it is stored; one in front of it to dx, which is
// made 0 where the ReLU's output, the layer's input, is 0.
//
// Outputs are resized to fit, except gradients that are accumulated into. Errors: ShapeError and
// DeviceError.

namespace lora::inline v0::detail {

template <class T>
VectorView<const T> optional_vector(const Tensor<T>* x) {
  return x ? x->vector() : VectorView<const T>{nullptr, 0};
}

template <class T>
void require_linear_shapes(const char* op, const Tensor<T>& x, const Tensor<T>& w,
                           const Tensor<T>* bias) {
  require_equal_dims(op, "x", x, 1, "w", w, 1);
  if (bias) require_equal_dims(op, "bias", *bias, 0, "w", w, 0);
}

template <class T>
MatrixView<const T> optional_matrix(const Tensor<T>* x) {
  return x ? x->matrix() : MatrixView<const T>{nullptr, 0, 0, 0};
}

/// Gives dx, if it is wanted, the shape of dy W.
template <class T>
MatrixView<T> prepare_input_gradient(const char* op, const Tensor<T>& dy, const Tensor<T>& w,
                                     const Tensor<T>* relu_output, Tensor<T>* dx) {
  if (!dx) return {nullptr, 0, 0, 0};
  if (relu_output) {
    require_equal_dims(op, "relu_output", *relu_output, 0, "dy", dy, 0);
    require_equal_dims(op, "relu_output", *relu_output, 1, "w", w, 1);
  }
  dx->resize(dy.shape().with_cols(w.dim(1)), dy.device());
  return dx->matrix();
}

/// For the ops that compute dx = dy W, if it is wanted, and update `value`, the W of that product.
template <class T>
MatrixView<T> prepare_backward_update(const char* op, const Tensor<T>& dy, const Tensor<T>& x,
                                      const Tensor<T>& value, const Tensor<T>* relu_output,
                                      Tensor<T>* dx) {
  require_equal_dims(op, "dy", dy, 0, "x", x, 0);
  require_equal_dims(op, "dy", dy, 1, "value", value, 0);
  require_equal_dims(op, "x", x, 1, "value", value, 1);
  return prepare_input_gradient(op, dy, value, relu_output, dx);
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = x Wᵀ + bias; `bias` may be null.
template <class T>
void linear(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>* bias, Tensor<T>& y,
            Activation activation = Activation::none) {
  detail::require_linear_shapes("linear", x, w, bias);
  y.resize(x.shape().with_cols(w.dim(0)), x.device());
  detail::dispatch<T>("linear", x.device(), cpu::linear<T>, &detail::Backend::linear, x.matrix(),
                      w.matrix(), detail::optional_vector(bias), y.matrix(), activation);
}

/// dx = dy W, through the ReLU that gave `relu_output` (B, I) unless that is null.
template <class T>
void linear_backward_input(const Tensor<T>& dy, const Tensor<T>& w, Tensor<T>& dx,
                           const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "linear_backward_input";
  detail::require_equal_dims(kOp, "dy", dy, 1, "w", w, 0);
  const MatrixView<T> input_gradient = detail::prepare_input_gradient(kOp, dy, w, relu_output, &dx);
  detail::dispatch<T>(kOp, dy.device(), cpu::linear_backward_input<T>,
                      &detail::Backend::linear_backward_input, dy.matrix(), w.matrix(),
                      detail::optional_matrix(relu_output), input_gradient);
}

/// dW = dyᵀ x, or dW += dyᵀ x.
template <class T>
void linear_backward_weight(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& dw,
                            bool accumulate = false) {
  constexpr const char* kOp = "linear_backward_weight";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  if (accumulate) {
    detail::require_equal_dims(kOp, "dw", dw, 0, "dy", dy, 1);
    detail::require_equal_dims(kOp, "dw", dw, 1, "x", x, 1);
  } else {
    dw.resize({dy.cols(), x.cols()}, dy.device());
  }
  detail::dispatch<T>(kOp, dy.device(), cpu::linear_backward_weight<T>,
                      &detail::Backend::linear_backward_weight, dy.matrix(), x.matrix(),
                      dw.matrix(), accumulate);
}

/// db = Σ_rows dy, or db += Σ_rows dy.
template <class T>
void linear_backward_bias(const Tensor<T>& dy, Tensor<T>& db, bool accumulate = false) {
  constexpr const char* kOp = "linear_backward_bias";
  if (accumulate) {
    detail::require_equal_dims(kOp, "db", db, 0, "dy", dy, 1);
  } else {
    db.resize({dy.cols()}, dy.device());
  }
  detail::dispatch<T>(kOp, dy.device(), cpu::linear_backward_bias<T>,
                      &detail::Backend::linear_backward_bias, dy.matrix(), db.vector(), accumulate);
}

}  // namespace lora::inline v0::ops
