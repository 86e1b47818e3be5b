// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/lora_linear.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// A linear layer with a low-rank update, after Hu et al., "LoRA: Low-Rank Adaptation of Large
// Language Models", 2021 (arXiv 2106.09685). The product B A is never formed.
//
// h = s x Aᵀ,  y = x Wᵀ + b + h Bᵀ   x: (B, I), W: (O, I), A: (R, I), B: (O, R), h: (B, R)
// dh = s dy B,  dx = dy W + dh A      dh: (B, R)
// dA = dhᵀ x,  dB = dyᵀ h            both by ops::linear_backward_weight
//
// Outputs are resized to fit. Errors: ShapeError and DeviceError.

namespace lora::inline v0::detail {

template <class T>
void require_adapter_shapes(const char* op, const Tensor<T>& w, const Tensor<T>& a,
                            const Tensor<T>& b) {
  require_equal_dims(op, "lora_A", a, 1, "w", w, 1);
  require_equal_dims(op, "lora_B", b, 0, "w", w, 0);
  require_equal_dims(op, "lora_A", a, 0, "lora_B", b, 1);
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = x Wᵀ + bias + scale (x Aᵀ) Bᵀ; `bias` may be null. Leaves h for the backward pass.
template <class T>
void lora_linear(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>* bias, const Tensor<T>& a,
                 const Tensor<T>& b, Tensor<T>& h, Tensor<T>& y, double scale,
                 Activation activation = Activation::none) {
  constexpr const char* kOp = "lora_linear";
  detail::require_linear_shapes(kOp, x, w, bias);
  detail::require_adapter_shapes(kOp, w, a, b);
  h.resize({x.rows(), a.dim(0)}, x.device());
  y.resize(x.shape().with_cols(w.dim(0)), x.device());
  detail::dispatch<T>(kOp, x.device(), cpu::lora_linear<T>, &detail::Backend::lora_linear,
                      x.matrix(), w.matrix(), detail::optional_vector(bias), a.matrix(), b.matrix(),
                      h.matrix(), y.matrix(), scale, activation);
}

/// dh = scale dy B and, unless `dx` is null, dx = dy W + dh A, through the ReLU that gave
/// `relu_output` (B, I) unless that is null.
template <class T>
void lora_linear_backward_input(const Tensor<T>& dy, const Tensor<T>& w, const Tensor<T>& a,
                                const Tensor<T>& b, Tensor<T>& dh, Tensor<T>* dx, double scale,
                                const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "lora_linear_backward_input";
  detail::require_equal_dims(kOp, "dy", dy, 1, "w", w, 0);
  detail::require_adapter_shapes(kOp, w, a, b);
  dh.resize({dy.rows(), a.dim(0)}, dy.device());
  const MatrixView<T> input_gradient = detail::prepare_input_gradient(kOp, dy, w, relu_output, dx);
  detail::dispatch<T>(kOp, dy.device(), cpu::lora_linear_backward_input<T>,
                      &detail::Backend::lora_linear_backward_input, dy.matrix(), w.matrix(),
                      a.matrix(), b.matrix(), detail::optional_matrix(relu_output), dh.matrix(),
                      input_gradient, scale);
}

/// W += scale B A
template <class T>
void lora_merge(const Tensor<T>& a, const Tensor<T>& b, Tensor<T>& w, double scale) {
  constexpr const char* kOp = "lora_merge";
  detail::require_adapter_shapes(kOp, w, a, b);
  detail::dispatch<T>(kOp, w.device(), cpu::lora_merge<T>, &detail::Backend::lora_merge, a.matrix(),
                      b.matrix(), w.matrix(), scale);
}

}  // namespace lora::inline v0::ops
