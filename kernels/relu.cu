// SPDX-License-Identifier: MIT
#include "kernels/relu.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

int relu(ConstVector x, Vector y, void* stream) {
  return launch_elementwise(relu_kernel<4>, relu_kernel<1>, x.size, are_aligned(x.data, y.data),
                            stream, x, y);
}

int relu_backward(ConstVector y, ConstVector dy, Vector dx, void* stream) {
  return launch_elementwise(relu_backward_kernel<4>, relu_backward_kernel<1>, y.size,
                            are_aligned(y.data, dy.data, dx.data), stream, y, dy, dx);
}

}  // namespace lora::inline v0::cuda
