// SPDX-License-Identifier: MIT
#include "kernels/gates.cuh"
#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

struct GELUGate {
  static __device__ __forceinline__ void run(float x, float& gate, float& slope) {
    // Half of erfc, where (1 + erf) / 2 would cancel to nothing far below 0.
    gate = 0.5f * erfcf(-0.70710678f * x);
    slope = gate + x * (0.39894228f * expf(-0.5f * x * x));
  }
};

/// As on the CPU: (1 + tanh u) / 2 is the sigmoid of 2u, and the square stops before it overflows.
struct GELUTanhGate {
  static __device__ __forceinline__ void run(float x, float& gate, float& slope) {
    constexpr float kTwiceRoot = 1.5957691f;  // 2 √(2/π)
    constexpr float kCubic = 0.044715f;
    const float square = fminf(x * x, 1e4f);
    gate = sigmoid(x * (kTwiceRoot + kTwiceRoot * kCubic * square));
    slope = gate + x * gate * (1.0f - gate) * (kTwiceRoot + 3 * kTwiceRoot * kCubic * square);
  }
};

namespace {

template <class Gate>
int forward(ConstVector x, Vector y, void* stream) {
  return launch_elementwise(gate_kernel<Gate, 4>, gate_kernel<Gate, 1>, x.size,
                            are_aligned(x.data, y.data), stream, x, y);
}

template <class Gate>
int backward(ConstVector x, ConstVector dy, Vector dx, void* stream) {
  return launch_elementwise(gate_backward_kernel<Gate, 4>, gate_backward_kernel<Gate, 1>, x.size,
                            are_aligned(x.data, dy.data, dx.data), stream, x, dy, dx);
}

}  // namespace

int gelu(ConstVector x, Vector y, GELUApproximation approximation, void* stream) {
  return approximation == GELUApproximation::tanh ? forward<GELUTanhGate>(x, y, stream)
                                                  : forward<GELUGate>(x, y, stream);
}

int gelu_backward(ConstVector x, ConstVector dy, Vector dx, GELUApproximation approximation,
                  void* stream) {
  return approximation == GELUApproximation::tanh ? backward<GELUTanhGate>(x, dy, dx, stream)
                                                  : backward<GELUGate>(x, dy, dx, stream);
}

}  // namespace lora::inline v0::cuda
