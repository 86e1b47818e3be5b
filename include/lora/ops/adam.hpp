// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/cpu/adam.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// Adam, after Kingma and Ba, 2014 (arXiv 1412.6980), rounded in PyTorch's order:
//   g += weight_decay p
//   m = β₁ m + (1 - β₁) g,   v = β₂ v + (1 - β₂) g²
//   p -= lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps)
// On a dense gradient it moves 28 bytes a parameter; on a factored one, which is formed in
// registers from dy and x, 24.

namespace lora::inline v0 {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  ///< L2, added to the gradient
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

inline AdamScalars adam_scalars(const AdamOptions& o, std::int64_t step) {
  const auto t = static_cast<double>(step);
  return {1 - o.beta1,
          o.beta1,
          1 - o.beta2,
          o.beta2,
          o.lr / (1 - std::pow(o.beta1, t)),
          std::sqrt(1 - std::pow(o.beta2, t)),
          o.eps,
          o.weight_decay};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// One Adam update, the `step`-th, counted from 1. All tensors have one shape.
template <class T>
void adam(const Tensor<T>& gradient, Tensor<T>& value, Tensor<T>& m, Tensor<T>& v,
          const AdamOptions& options, std::int64_t step) {
  detail::require_same_shape("adam", "gradient", gradient, "value", value);
  detail::require_same_shape("adam", "m", m, "value", value);
  detail::require_same_shape("adam", "v", v, "value", value);
  detail::dispatch<T>("adam", value.device(), cpu::adam<T>, &detail::Backend::adam,
                      gradient.vector(), value.vector(), m.vector(), v.vector(),
                      detail::adam_scalars(options, step));
}

/// As adam, with the gradient dyᵀ x given by its factors: dy (B, O), x (B, I), the rest (O, I).
template <class T>
void adam_factored(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& value, Tensor<T>& m,
                   Tensor<T>& v, const AdamOptions& options, std::int64_t step) {
  constexpr const char* kOp = "adam_factored";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_equal_dims(kOp, "dy", dy, 1, "value", value, 0);
  detail::require_equal_dims(kOp, "x", x, 1, "value", value, 1);
  detail::require_same_shape(kOp, "m", m, "value", value);
  detail::require_same_shape(kOp, "v", v, "value", value);
  detail::dispatch<T>(kOp, value.device(), cpu::adam_factored<T>, &detail::Backend::adam_factored,
                      dy.matrix(), x.matrix(), value.matrix(), m.matrix(), v.matrix(),
                      detail::adam_scalars(options, step));
}

/// The backward pass of a linear layer and the update of its weight: dx = dy value, unless dx is
/// null, and then adam_factored. The same bits as the two, in one visit of the weight.
template <class T>
void linear_backward_adam(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& value, Tensor<T>& m,
                          Tensor<T>& v, Tensor<T>* dx, const AdamOptions& options,
                          std::int64_t step) {
  constexpr const char* kOp = "linear_backward_adam";
  const MatrixView<T> input_gradient = detail::prepare_backward_update(kOp, dy, x, value, dx);
  detail::require_same_shape(kOp, "m", m, "value", value);
  detail::require_same_shape(kOp, "v", v, "value", value);
  detail::dispatch<T>(kOp, value.device(), cpu::linear_backward_adam<T>,
                      &detail::Backend::linear_backward_adam, dy.matrix(), x.matrix(),
                      value.matrix(), m.matrix(), v.matrix(), input_gradient,
                      detail::adam_scalars(options, step));
}

}  // namespace lora::inline v0::ops
