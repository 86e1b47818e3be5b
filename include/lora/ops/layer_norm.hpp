// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <string>

#include <lora/cpu/layer_norm.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// y = x̂ ∘ weight + bias, x̂ = (x - mean) inv_std, inv_std = 1 / √(var + eps)
//                                   x, y: (..., D), weight, bias: (D,), mean, inv_std: one a row
// dx = inv_std (g - mean(g) - x̂ mean(g ∘ x̂)), g = dy ∘ weight
// dweight = Σ_rows dy ∘ x̂,  dbias = Σ_rows dy
//
// Means, and the variance (Σ (x - mean)² / D), go over the last size, as in
// torch.nn.functional.layer_norm; Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
//
// Outputs are resized to fit, except gradients that are accumulated into. Errors: ShapeError and
// DeviceError.

namespace lora::inline v0::detail {

/// x: (..., D) of rank 2 or more, weight: (D,).
template <class T>
void require_features(const char* op, const Tensor<T>& x, const Tensor<T>& weight) {
  require_equal_dims(op, "x", x, std::max(1, x.shape().rank() - 1), "weight", weight, 0);
}

/// A number for each row of x.
template <class T>
void require_row_numbers(const char* op, const char* name, const Tensor<T>& numbers,
                         const Tensor<T>& x) {
  require_same_device(op, name, numbers, "x", x);
  if (numbers.shape() != Shape{x.rows()}) {
    throw_mismatch<ShapeError>(op, name, numbers, "x", x,
                               std::string(name) + " must have a number for each row of x");
  }
}

/// Gives a gradient of (D,), if it is wanted, that shape, or checks that it has it.
template <class T>
VectorView<T> prepare_feature_gradient(const char* op, const char* name, Tensor<T>* gradient,
                                       const Tensor<T>& weight, bool accumulate) {
  if (!gradient) return {nullptr, 0};
  if (accumulate) {
    require_same_shape(op, name, *gradient, "weight", weight);
  } else {
    gradient->resize(weight.shape(), weight.device());
  }
  return gradient->vector();
}

/// Gives dx, if it is wanted, the shape of x.
template <class T>
MatrixView<T> prepare_row_gradient(const Tensor<T>& x, Tensor<T>* dx) {
  if (!dx) return {nullptr, 0, 0, 0};
  dx->resize(x.shape(), x.device());
  return dx->matrix();
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = x̂ ∘ weight + bias, and what the backward pass takes; `bias` may be null. `y` may be `x`
/// itself where no backward pass follows.
template <class T>
void layer_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>* bias, Tensor<T>& y,
                Tensor<T>& mean, Tensor<T>& inv_std, double eps) {
  constexpr const char* kOp = "layer_norm";
  detail::require_features(kOp, x, weight);
  if (bias) detail::require_same_shape(kOp, "bias", *bias, "weight", weight);
  y.resize(x.shape(), x.device());
  mean.resize({x.rows()}, x.device());
  inv_std.resize({x.rows()}, x.device());
  detail::dispatch<T>(kOp, x.device(), cpu::layer_norm<T>, &detail::Backend::layer_norm, x.matrix(),
                      weight.vector(), detail::optional_vector(bias), y.matrix(), mean.vector(),
                      inv_std.vector(), eps);
}

/// The gradients, each of which may be null. `dx` may be `dy` itself. `accumulate_weight` adds to
/// `dweight`, `accumulate_bias` to `dbias`.
template <class T>
void layer_norm_backward(const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& weight,
                         const Tensor<T>& mean, const Tensor<T>& inv_std, Tensor<T>* dx,
                         Tensor<T>* dweight, Tensor<T>* dbias, bool accumulate_weight = false,
                         bool accumulate_bias = false) {
  constexpr const char* kOp = "layer_norm_backward";
  detail::require_same_shape(kOp, "dy", dy, "x", x);
  detail::require_features(kOp, x, weight);
  detail::require_row_numbers(kOp, "mean", mean, x);
  detail::require_row_numbers(kOp, "inv_std", inv_std, x);
  const VectorView<T> weight_gradient =
      detail::prepare_feature_gradient(kOp, "dweight", dweight, weight, accumulate_weight);
  const VectorView<T> bias_gradient =
      detail::prepare_feature_gradient(kOp, "dbias", dbias, weight, accumulate_bias);
  const MatrixView<T> input_gradient = detail::prepare_row_gradient(x, dx);
  detail::dispatch<T>(kOp, x.device(), cpu::layer_norm_backward<T>,
                      &detail::Backend::layer_norm_backward, dy.matrix(), x.matrix(),
                      weight.vector(), mean.vector(), inv_std.vector(), input_gradient,
                      weight_gradient, bias_gradient, accumulate_weight, accumulate_bias);
}

}  // namespace lora::inline v0::ops
