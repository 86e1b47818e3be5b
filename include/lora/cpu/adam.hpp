// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <lora/cpu/dense_update.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/cpu/linear_update.hpp>
#include <lora/cpu/lora_linear.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

using lora::detail::AdamMatrix;
using lora::detail::AdamSchedule;
using lora::detail::AdamVector;

/// The scalars of the step that is due.
inline const lora::detail::AdamScalars& scalars_of(const AdamSchedule& schedule) {
  return schedule.of_step ? schedule.of_step[*schedule.step - 1] : schedule.now;
}

/// Takes gradients and applies Adam to value, m and v in one visit; see ops/adam.hpp for the
/// formula.
template <class T>
struct AdamSink {
  MatrixView<T> value, m, v;
  T beta1, one_minus_beta1, beta2, one_minus_beta2, minus_step_size, eps;
  T weight_decay, minus_decoupled_decay;

  AdamSink(const AdamMatrix<T>& p, const AdamSchedule& schedule)
      : AdamSink(p, scalars_of(schedule), schedule.lr_ratio, schedule.weight_decay_ratio) {}

  AdamSink(const AdamMatrix<T>& p, const lora::detail::AdamScalars& s, double lr_ratio,
           double weight_decay_ratio)
      : value(p.value),
        m(p.m),
        v(p.v),
        beta1(static_cast<T>(s.beta1)),
        one_minus_beta1(static_cast<T>(s.one_minus_beta1)),
        beta2(static_cast<T>(s.beta2)),
        one_minus_beta2(static_cast<T>(s.one_minus_beta2)),
        minus_step_size(static_cast<T>(-(lr_ratio * s.step_size))),
        eps(static_cast<T>(s.eps)),
        weight_decay(static_cast<T>(weight_decay_ratio * s.weight_decay)),
        minus_decoupled_decay(
            static_cast<T>(-(lr_ratio * weight_decay_ratio * s.decoupled_decay))) {}

  template <class S>
  LORA_ALWAYS_INLINE void vector(const typename S::Vector& gradient, std::int64_t o,
                                 std::int64_t k) const {
    using V = typename S::Vector;
    T* const value_at = value.row(o) + k;
    T* const m_at = m.row(o) + k;
    T* const v_at = v.row(o) + k;
    S::prefetch_ahead(value_at);
    S::prefetch_ahead(m_at);
    S::prefetch_ahead(v_at);
    V g = gradient;
    const V w = *S::at(value_at);
    if (weight_decay != T{0}) S::fma(V{} + weight_decay, w, g);
    V new_m = *S::at(m_at) * beta1;
    S::fma(g, V{} + one_minus_beta1, new_m);
    V new_v = *S::at(v_at) * beta2;
    S::fma(g * one_minus_beta2, g, new_v);
    V root = new_v;
    S::sqrt(root);
    *S::at(m_at) = new_m;
    *S::at(v_at) = new_v;
    V change = minus_step_size * new_m / (root + eps);
    if (minus_decoupled_decay != T{0}) S::fma(V{} + minus_decoupled_decay, w, change);
    *S::at(value_at) = w + change;
  }

  template <class S>
  LORA_ALWAYS_INLINE void scalar(T g, std::int64_t o, std::int64_t k) const {
    T& w = value(o, k);
    if (weight_decay != T{0}) S::fma(weight_decay, w, g);
    T& new_m = m(o, k);
    T& new_v = v(o, k);
    new_m *= beta1;
    S::fma(g, one_minus_beta1, new_m);
    new_v *= beta2;
    S::fma(g * one_minus_beta2, g, new_v);
    T change = minus_step_size * new_m / (std::sqrt(new_v) + eps);
    if (minus_decoupled_decay != T{0}) S::fma(minus_decoupled_decay, w, change);
    w += change;
  }
};

template <class T>
void adam(VectorView<const T> gradient, AdamVector<T> p, AdamSchedule schedule) {
  update_dense(gradient, AdamSink<T>({as_row(p.value), as_row(p.m), as_row(p.v)}, schedule));
}

template <class T>
void adam_factored(MatrixView<const T> dy, MatrixView<const T> x, AdamMatrix<T> p,
                   AdamSchedule schedule) {
  for_each_weight_gradient(dy, x, AdamSink<T>(p, schedule));
}

template <class T>
void linear_backward_adam(MatrixView<const T> dy, MatrixView<const T> x, AdamMatrix<T> weight,
                          AdamVector<T> bias, MatrixView<const T> relu_output, MatrixView<T> dx,
                          AdamSchedule schedule) {
  linear_backward_update<T>(dy, x, weight.value, relu_output, dx, AdamSink<T>(weight, schedule));
  if (!bias.value.data) return;
  thread_local std::vector<T> gradient;
  gradient.resize(static_cast<std::size_t>(dy.cols));
  linear_backward_bias<T>(dy, {gradient.data(), dy.cols}, false);
  adam<T>({gradient.data(), dy.cols}, bias, schedule);
}

template <class T>
void lora_linear_backward_adam(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<const T> w,
                               MatrixView<const T> h, AdamMatrix<T> a, AdamMatrix<T> b,
                               MatrixView<const T> relu_output, MatrixView<T> dh, MatrixView<T> dx,
                               double scale, AdamSchedule of_a, AdamSchedule of_b) {
  lora_linear_backward_input<T>(dy, w, a.value, b.value, relu_output, dh, dx, scale);
  adam_factored<T>(dh, x, a, of_a);
  adam_factored<T>(dy, h, b, of_b);
}

}  // namespace lora::inline v0::cpu
