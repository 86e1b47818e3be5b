// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/gates.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/cpu/simd_math.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

struct SiLUGate {
  template <class S, class V>
  static LORA_ALWAYS_INLINE void run(const V& x, V& gate, V& slope) {
    using T = ElementOf<S>;
    gate = x;
    sigmoid<S>(gate);
    slope = gate + x * gate * (T(1) - gate);
  }
};

template <class T>
void silu(VectorView<const T> x, VectorView<T> y) {
  gate_forward<SiLUGate>(x, y);
}

template <class T>
void silu_backward(VectorView<const T> x, VectorView<const T> dy, VectorView<T> dx) {
  gate_backward<SiLUGate>(x, dy, dx);
}

}  // namespace lora::inline v0::cpu
