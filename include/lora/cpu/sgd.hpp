// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/cpu/dense_update.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/cpu/linear_update.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Takes gradients and applies value -= lr (gradient + weight_decay value).
template <class T>
struct SgdSink {
  MatrixView<T> value;
  T minus_lr, weight_decay;

  template <class S>
  LORA_ALWAYS_INLINE void vector(const typename S::Vector& gradient, std::int64_t o,
                                 std::int64_t k) const {
    using V = typename S::Vector;
    T* const value_at = value.row(o) + k;
    S::prefetch_ahead(value_at);
    V w = *S::at(value_at);
    V g = gradient;
    S::fma(V{} + weight_decay, w, g);
    S::fma(V{} + minus_lr, g, w);
    *S::at(value_at) = w;
  }

  template <class S>
  LORA_ALWAYS_INLINE void scalar(T g, std::int64_t o, std::int64_t k) const {
    T& w = value(o, k);
    S::fma(weight_decay, w, g);
    S::fma(minus_lr, g, w);
  }
};

template <class T>
void sgd(VectorView<const T> gradient, VectorView<T> value, double lr, double weight_decay) {
  update_dense(gradient,
               SgdSink<T>{as_row(value), static_cast<T>(-lr), static_cast<T>(weight_decay)});
}

template <class T>
void sgd_factored(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> value, double lr,
                  double weight_decay) {
  for_each_weight_gradient(dy, x,
                           SgdSink<T>{value, static_cast<T>(-lr), static_cast<T>(weight_decay)});
}

template <class T>
void linear_backward_sgd(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> value,
                         MatrixView<const T> relu_output, MatrixView<T> dx, double lr,
                         double weight_decay) {
  linear_backward_update<T>(dy, x, value, relu_output, dx,
                            SgdSink<T>{value, static_cast<T>(-lr), static_cast<T>(weight_decay)});
}

}  // namespace lora::inline v0::cpu
