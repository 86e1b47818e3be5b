// SPDX-License-Identifier: MIT
#include "kernels/elementwise.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

int fill(Vector y, double value, void* stream) {
  return launch_elementwise(fill_kernel<4>, fill_kernel<1>, y.size, are_aligned(y.data), stream, y,
                            static_cast<float>(value));
}

int scale(Vector y, double factor, void* stream) {
  return launch_elementwise(scale_kernel<4>, scale_kernel<1>, y.size, are_aligned(y.data), stream,
                            y, static_cast<float>(factor));
}

int add_scaled(ConstVector x, Vector y, double factor, void* stream) {
  return launch_elementwise(add_scaled_kernel<4>, add_scaled_kernel<1>, y.size,
                            are_aligned(x.data, y.data), stream, x, y, static_cast<float>(factor));
}

}  // namespace lora::inline v0::cuda
