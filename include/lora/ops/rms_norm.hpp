// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/rms_norm.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/layer_norm.hpp>
#include <lora/tensor.hpp>

// y = x̂ ∘ weight, x̂ = x inv_rms, inv_rms = 1 / √(mean(x²) + eps)
//                                         x, y: (..., D), weight: (D,), inv_rms: one a row
// dx = inv_rms (g - x̂ mean(g ∘ x̂)), g = dy ∘ weight
// dweight = Σ_rows dy ∘ x̂
//
// Means go over the last size, as in torch.nn.functional.rms_norm; Zhang and Sennrich, "Root Mean
// Square Layer Normalization", arXiv 1910.07467.
//
// Outputs are resized to fit, except gradients that are accumulated into. Errors: ShapeError and
// DeviceError.

namespace lora::inline v0::ops {

/// y = x̂ ∘ weight, and what the backward pass takes. `y` may be `x` itself where no backward pass
/// follows.
template <class T>
void rms_norm(const Tensor<T>& x, const Tensor<T>& weight, Tensor<T>& y, Tensor<T>& inv_rms,
              double eps) {
  constexpr const char* kOp = "rms_norm";
  detail::require_features(kOp, x, weight);
  y.resize(x.shape(), x.device());
  inv_rms.resize({x.rows()}, x.device());
  detail::dispatch<T>(kOp, x.device(), cpu::rms_norm<T>, &detail::Backend::rms_norm, x.matrix(),
                      weight.vector(), y.matrix(), inv_rms.vector(), eps);
}

/// The gradients, each of which may be null. `dx` may be `dy` itself. `accumulate` adds to
/// `dweight`.
template <class T>
void rms_norm_backward(const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& weight,
                       const Tensor<T>& inv_rms, Tensor<T>* dx, Tensor<T>* dweight,
                       bool accumulate = false) {
  constexpr const char* kOp = "rms_norm_backward";
  detail::require_same_shape(kOp, "dy", dy, "x", x);
  detail::require_features(kOp, x, weight);
  detail::require_row_numbers(kOp, "inv_rms", inv_rms, x);
  const VectorView<T> weight_gradient =
      detail::prepare_feature_gradient(kOp, "dweight", dweight, weight, accumulate);
  const MatrixView<T> input_gradient = detail::prepare_row_gradient(x, dx);
  detail::dispatch<T>(kOp, x.device(), cpu::rms_norm_backward<T>,
                      &detail::Backend::rms_norm_backward, dy.matrix(), x.matrix(), weight.vector(),
                      inv_rms.vector(), input_gradient, weight_gradient, accumulate);
}

}  // namespace lora::inline v0::ops
