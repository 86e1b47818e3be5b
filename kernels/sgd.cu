// SPDX-License-Identifier: MIT
#include "kernels/sgd.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

int sgd(ConstVector gradient, Vector value, double lr, double weight_decay, void* stream) {
  return launch_elementwise(sgd_kernel<4>, sgd_kernel<1>, gradient.size,
                            are_aligned(gradient.data, value.data), stream, gradient, value,
                            SgdStep{static_cast<float>(-lr), static_cast<float>(weight_decay)});
}

}  // namespace lora::inline v0::cuda
