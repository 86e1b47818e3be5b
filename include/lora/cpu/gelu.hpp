// SPDX-License-Identifier: MIT
#pragma once

#include <lora/activation.hpp>
#include <lora/cpu/gates.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/cpu/simd_math.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

struct GELUGate {
  template <class S, class V>
  static LORA_ALWAYS_INLINE void run(const V& x, V& gate, V& slope) {
    V density;
    normal<S>(x, gate, density);
    slope = gate + x * density;
  }
};

/// (1 + tanh u) / 2 is the sigmoid of 2u.
struct GELUTanhGate {
  template <class S, class V>
  static LORA_ALWAYS_INLINE void run(const V& x, V& gate, V& slope) {
    using T = ElementOf<S>;
    constexpr T kTwiceRoot = T(1.5957691216057308);  // 2 √(2/π)
    constexpr T kCubic = T(0.044715);
    // From |x| = 100 on, where the gate has long been 0 or 1, the square grows no more: it could
    // overflow, and 0 times infinity would be the slope.
    V square = x * x;
    S::select(square > V{} + T(1e4), V{} + T(1e4), square, square);
    gate = x * (kTwiceRoot + kTwiceRoot * kCubic * square);
    sigmoid<S>(gate);
    const V inner = kTwiceRoot + 3 * kTwiceRoot * kCubic * square;
    slope = gate + x * gate * (T(1) - gate) * inner;
  }
};

template <class T>
void gelu(VectorView<const T> x, VectorView<T> y, GELUApproximation approximation) {
  if (approximation == GELUApproximation::tanh) return gate_forward<GELUTanhGate>(x, y);
  gate_forward<GELUGate>(x, y);
}

template <class T>
void gelu_backward(VectorView<const T> x, VectorView<const T> dy, VectorView<T> dx,
                   GELUApproximation approximation) {
  if (approximation == GELUApproximation::tanh) return gate_backward<GELUTanhGate>(x, dy, dx);
  gate_backward<GELUGate>(x, dy, dx);
}

}  // namespace lora::inline v0::cpu
