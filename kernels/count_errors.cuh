// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"

// 8 bytes a row. Whole numbers are counted, so atomics give the same sum in any order, and only
// wrong rows cause one.

namespace lora::inline v0::cuda {

__global__ void count_errors_kernel(VectorView<const std::int32_t> predictions,
                                    VectorView<const std::int32_t> labels,
                                    VectorView<std::int64_t> wrong) {
  const std::int64_t threads = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < labels.size;
       i += threads) {
    const std::int32_t label = labels.data[i];
    if (label >= 0 && label < wrong.size && predictions.data[i] != label) {
      atomicAdd(reinterpret_cast<unsigned long long*>(wrong.data + label), 1ull);
    }
  }
}

}  // namespace lora::inline v0::cuda
