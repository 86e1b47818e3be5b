// SPDX-License-Identifier: MIT
#include "kernels/dropout.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

int dropout(ConstVector x, Vector y, DropoutMask mask, void* stream) {
  return launch_elementwise(dropout_kernel<4>, dropout_kernel<1>, x.size,
                            are_aligned(x.data, y.data), stream, x, y, mask);
}

int dropout_add(ConstVector x, ConstVector relu_output, Vector y, DropoutMask mask, void* stream) {
  return launch_elementwise(dropout_add_kernel<4>, dropout_add_kernel<1>, x.size,
                            are_aligned(x.data, relu_output.data, y.data), stream, x, relu_output,
                            y, mask);
}

}  // namespace lora::inline v0::cuda
