// SPDX-License-Identifier: MIT
#include "kernels/gates.cuh"
#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

struct SiLUGate {
  static __device__ __forceinline__ void run(float x, float& gate, float& slope) {
    gate = sigmoid(x);
    slope = gate + x * gate * (1.0f - gate);
  }
};

int silu(ConstVector x, Vector y, void* stream) {
  return launch_elementwise(gate_kernel<SiLUGate, 4>, gate_kernel<SiLUGate, 1>, x.size,
                            are_aligned(x.data, y.data), stream, x, y);
}

int silu_backward(ConstVector x, ConstVector dy, Vector dx, void* stream) {
  return launch_elementwise(gate_backward_kernel<SiLUGate, 4>, gate_backward_kernel<SiLUGate, 1>,
                            x.size, are_aligned(x.data, dy.data, dx.data), stream, x, dy, dx);
}

}  // namespace lora::inline v0::cuda
