// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/cpu/dense_update.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/cpu/linear_update.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Takes gradients and applies Adam to value, m and v in one visit; see ops/adam.hpp for the
/// formula. The order of roundings is that of PyTorch 1.13, so equal gradients give equal bits.
template <class T>
struct AdamSink {
  MatrixView<T> value, m, v;
  T beta1, one_minus_beta1, beta2, one_minus_beta2, minus_step_size, sqrt_bias_correction2, eps;
  T weight_decay;

  AdamSink(MatrixView<T> value, MatrixView<T> m, MatrixView<T> v,
           const lora::detail::AdamScalars& s)
      : value(value),
        m(m),
        v(v),
        beta1(static_cast<T>(s.beta1)),
        one_minus_beta1(static_cast<T>(s.one_minus_beta1)),
        beta2(static_cast<T>(s.beta2)),
        one_minus_beta2(static_cast<T>(s.one_minus_beta2)),
        minus_step_size(static_cast<T>(-s.step_size)),
        sqrt_bias_correction2(static_cast<T>(s.sqrt_bias_correction2)),
        eps(static_cast<T>(s.eps)),
        weight_decay(static_cast<T>(s.weight_decay)) {}

  template <class S>
  LORA_ALWAYS_INLINE void vector(const typename S::Vector& gradient, std::int64_t o,
                                 std::int64_t k) const {
    using V = typename S::Vector;
    T* const value_at = value.row(o) + k;
    T* const m_at = m.row(o) + k;
    T* const v_at = v.row(o) + k;
    V g = gradient;
    const V w = S::at(value_at);
    if (weight_decay != T{0}) S::fma(V{} + weight_decay, w, g);
    V new_m = S::at(m_at) * beta1;
    S::fma(g, V{} + one_minus_beta1, new_m);
    V new_v = S::at(v_at) * beta2;
    S::fma(g * one_minus_beta2, g, new_v);
    V root = new_v;
    S::sqrt(root);
    const V denominator = root / sqrt_bias_correction2 + eps;
    S::at(m_at) = new_m;
    S::at(v_at) = new_v;
    S::at(value_at) = w + minus_step_size * new_m / denominator;
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
    const T denominator = std::sqrt(new_v) / sqrt_bias_correction2 + eps;
    w += minus_step_size * new_m / denominator;
  }
};

template <class T>
void adam(VectorView<const T> gradient, VectorView<T> value, VectorView<T> m, VectorView<T> v,
          lora::detail::AdamScalars scalars) {
  update_dense(gradient, AdamSink<T>(as_row(value), as_row(m), as_row(v), scalars));
}

template <class T>
void adam_factored(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> value,
                   MatrixView<T> m, MatrixView<T> v, lora::detail::AdamScalars scalars) {
  for_each_weight_gradient(dy, x, AdamSink<T>(value, m, v, scalars));
}

template <class T>
void linear_backward_adam(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> value,
                          MatrixView<T> m, MatrixView<T> v, MatrixView<T> dx,
                          lora::detail::AdamScalars scalars) {
  linear_backward_update<T>(dy, x, value, dx, AdamSink<T>(value, m, v, scalars));
}

}  // namespace lora::inline v0::cpu
