// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/simd.hpp>
#include <lora/cpu/simd_math.hpp>
#include <lora/cpu/vectors.hpp>
#include <lora/view.hpp>

// Activations y = x g(x) whose g goes smoothly from 0 to 1. A Gate is a struct with
//     template <class S> static LORA_ALWAYS_INLINE void run(x, gate, slope);
// which gives g(x) and the derivative of x g(x). What one of the two alone needs is left out by the
// compiler where the other is not used.

namespace lora::inline v0::cpu {

template <class Gate>
struct GateForward {
  template <class S, class T>
  static LORA_ALWAYS_INLINE void run(T* y, const T* x) {
    const typename S::Vector v = *S::at(x);
    typename S::Vector gate, slope;
    Gate::template run<S>(v, gate, slope);
    *S::at(y) = v * gate;
  }
};

template <class Gate>
struct GateBackward {
  template <class S, class T>
  static LORA_ALWAYS_INLINE void run(T* dx, const T* x, const T* dy) {
    const typename S::Vector v = *S::at(x);
    typename S::Vector gate, slope;
    Gate::template run<S>(v, gate, slope);
    *S::at(dx) = *S::at(dy) * slope;
  }
};

template <class Gate, class T>
void gate_forward(VectorView<const T> x, VectorView<T> y) {
  map<GateForward<Gate>>(y, x.data);
}

template <class Gate, class T>
void gate_backward(VectorView<const T> x, VectorView<const T> dy, VectorView<T> dx) {
  map<GateBackward<Gate>>(dx, x.data, dy.data);
}

}  // namespace lora::inline v0::cpu
