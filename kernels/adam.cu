// SPDX-License-Identifier: MIT
#include "kernels/adam.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"

namespace lora::inline v0::cuda {

int adam(ConstVector gradient, AdamVector<float> p, AdamSchedule schedule, void* stream) {
  return launch_elementwise(adam_kernel<4>, adam_kernel<1>, gradient.size,
                            are_aligned(gradient.data, p.value.data, p.m.data, p.v.data), stream,
                            gradient, p, schedule);
}

}  // namespace lora::inline v0::cuda
