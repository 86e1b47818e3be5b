// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"

// Column sums: 4 bytes an element, read once. A block of (columns, lanes) threads: lane y adds rows
// y, y + lanes, … of its column, neighbouring threads reading neighbouring columns, and the lanes'
// sums are added in a tree. One block has all rows of its columns, so no sum crosses blocks.

namespace lora::inline v0::cuda {

/// blockDim.y is a power of two. Shared memory: a float for each thread.
__global__ void linear_backward_bias_kernel(MatrixView<const float> dy, VectorView<float> db,
                                            bool accumulate) {
  LORA_DYNAMIC_SHARED_MEMORY(float, sums);
  const std::int64_t column = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const bool exists = column < dy.cols;
  const bool is_first = threadIdx.y == 0;
  // What is there is the first summand, as on the CPU.
  float sum = exists && is_first && accumulate ? db.data[column] : 0.0f;
  if (exists) {
    const float* from = dy.data + column + threadIdx.y * dy.stride;
    for (std::int64_t row = threadIdx.y; row < dy.rows; row += blockDim.y) {
      sum += *from;
      from += blockDim.y * dy.stride;
    }
  }
  float* const own = sums + threadIdx.y * blockDim.x + threadIdx.x;
  *own = sum;
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) *own += own[half * blockDim.x];
  }
  if (exists && is_first) db.data[column] = *own;
}

}  // namespace lora::inline v0::cuda
