// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/cpu/adam.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/ops/linear.hpp>
#include <lora/ops/lora_linear.hpp>
#include <lora/tensor.hpp>

// Adam, after Kingma and Ba, 2014 (arXiv 1412.6980), PyTorch's with the bias corrections moved as
// at the end of the paper's section 2, which saves a division a parameter:
//   g += weight_decay p
//   m = β₁ m + (1 - β₁) g,   v = β₂ v + (1 - β₂) g²
//   p -= lr c / (1 - β₁ᵗ) · m / (√v + c eps)   with c = √(1 - β₂ᵗ)
// Decoupled, as AdamW has it (Loshchilov and Hutter, 2017, arXiv 1711.05101), the decay leaves g
// alone and p loses lr weight_decay p in the same step.
// On a dense gradient it moves 28 bytes a parameter; on a factored one, which is formed in
// registers from dy and x, 24.

namespace lora::inline v0 {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  ///< L2, added to the gradient, unless it is decoupled
  bool decoupled_weight_decay = false;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

inline AdamScalars adam_scalars(const AdamOptions& o, std::int64_t step) {
  const auto t = static_cast<double>(step);
  const double correction = std::sqrt(1 - std::pow(o.beta2, t));
  return {1 - o.beta1,
          o.beta1,
          1 - o.beta2,
          o.beta2,
          o.lr * correction / (1 - std::pow(o.beta1, t)),
          o.eps * correction,
          o.decoupled_weight_decay ? 0 : o.weight_decay,
          o.decoupled_weight_decay ? o.lr * o.weight_decay : 0};
}

inline AdamSchedule adam_schedule(const AdamOptions& options, std::int64_t step,
                                  double lr_ratio = 1, double weight_decay_ratio = 1) {
  return {adam_scalars(options, step), nullptr, nullptr, lr_ratio, weight_decay_ratio};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// The two moments of a parameter, of its shape.
template <class T>
struct AdamState {
  Tensor<T> m, v;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

template <class T>
AdamMatrix<T> adam_matrix(const char* op, Tensor<T>& value, AdamState<T>& state) {
  require_same_shape(op, "m", state.m, "value", value);
  require_same_shape(op, "v", state.v, "value", value);
  return {value.matrix(), state.m.matrix(), state.v.matrix()};
}

template <class T>
AdamVector<T> adam_vector(const char* op, Tensor<T>& value, AdamState<T>& state) {
  require_same_shape(op, "m", state.m, "value", value);
  require_same_shape(op, "v", state.v, "value", value);
  return {value.vector(), state.m.vector(), state.v.vector()};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// One Adam update. `schedule` is adam_schedule(options, step, lr_ratio, weight_decay_ratio), the
/// step counted from 1. All tensors have one shape.
template <class T>
void adam(const Tensor<T>& gradient, Tensor<T>& value, AdamState<T>& state,
          const detail::AdamSchedule& schedule) {
  detail::require_same_shape("adam", "gradient", gradient, "value", value);
  detail::dispatch<T>("adam", value.device(), cpu::adam<T>, &detail::Backend::adam,
                      gradient.vector(), detail::adam_vector("adam", value, state), schedule);
}

/// As adam, with the gradient dyᵀ x given by its factors: dy (B, O), x (B, I), the rest (O, I).
template <class T>
void adam_factored(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& value, AdamState<T>& state,
                   const detail::AdamSchedule& schedule) {
  constexpr const char* kOp = "adam_factored";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_equal_dims(kOp, "dy", dy, 1, "value", value, 0);
  detail::require_equal_dims(kOp, "x", x, 1, "value", value, 1);
  detail::dispatch<T>(kOp, value.device(), cpu::adam_factored<T>, &detail::Backend::adam_factored,
                      dy.matrix(), x.matrix(), detail::adam_matrix(kOp, value, state), schedule);
}

/// The backward pass of a linear layer and its update: linear_backward_input, unless dx is null,
/// and then adam_factored of the weight (O, I) and adam of the bias (O,), unless that is null. The
/// same bits as the three, in one visit of the weight.
template <class T>
void linear_backward_adam(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& weight,
                          AdamState<T>& weight_state, Tensor<T>* bias, AdamState<T>* bias_state,
                          Tensor<T>* dx, const detail::AdamSchedule& schedule,
                          const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "linear_backward_adam";
  const MatrixView<T> input_gradient =
      detail::prepare_backward_update(kOp, dy, x, weight, relu_output, dx);
  detail::AdamVector<T> bias_vectors{};
  if (bias) {
    detail::require_equal_dims(kOp, "bias", *bias, 0, "weight", weight, 0);
    bias_vectors = detail::adam_vector(kOp, *bias, *bias_state);
  }
  detail::dispatch<T>(kOp, weight.device(), cpu::linear_backward_adam<T>,
                      &detail::Backend::linear_backward_adam, dy.matrix(), x.matrix(),
                      detail::adam_matrix(kOp, weight, weight_state), bias_vectors,
                      detail::optional_matrix(relu_output), input_gradient, schedule);
}

/// The backward pass of a LoRA layer and the update of its adapter: lora_linear_backward_input, and
/// then adam_factored of A (R, I) by dhᵀ x and of B (O, R) by dyᵀ h, each by its own schedule.
template <class T>
void lora_linear_backward_adam(const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& w,
                               const Tensor<T>& h, Tensor<T>& a, AdamState<T>& a_state,
                               Tensor<T>& b, AdamState<T>& b_state, Tensor<T>& dh, Tensor<T>* dx,
                               double scale, const detail::AdamSchedule& of_a,
                               const detail::AdamSchedule& of_b,
                               const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "lora_linear_backward_adam";
  detail::require_equal_dims(kOp, "dy", dy, 1, "w", w, 0);
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_equal_dims(kOp, "x", x, 1, "w", w, 1);
  detail::require_equal_dims(kOp, "h", h, 1, "lora_A", a, 0);
  detail::require_adapter_shapes(kOp, w, a, b);
  dh.resize({dy.rows(), a.dim(0)}, dy.device());
  const MatrixView<T> input_gradient = detail::prepare_input_gradient(kOp, dy, w, relu_output, dx);
  detail::dispatch<T>(kOp, w.device(), cpu::lora_linear_backward_adam<T>,
                      &detail::Backend::lora_linear_backward_adam, dy.matrix(), x.matrix(),
                      w.matrix(), h.matrix(), detail::adam_matrix(kOp, a, a_state),
                      detail::adam_matrix(kOp, b, b_state), detail::optional_matrix(relu_output),
                      dh.matrix(), input_gradient, scale, of_a, of_b);
}

}  // namespace lora::inline v0::ops
