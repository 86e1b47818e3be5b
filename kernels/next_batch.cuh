// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/normalize_rows.cuh"

// normalize_rows whose rows depend on a counter on the device, so that a captured graph gathers
// another batch in each launch.

namespace lora::inline v0::cuda {

/// While the kernel runs, the upper bits of *step count the blocks that have read it, so one atomic
/// both reads the step and signs in, and no other memory has to be zero between launches.
inline constexpr int kStepBits = 48;
inline constexpr unsigned kMostGatherBlocks = (1u << (63 - kStepBits)) - 1;

/// The step before this launch, in every thread. The last block to ask writes the next step: by
/// then all have the old one.
__device__ __forceinline__ std::int64_t take_step(std::int64_t* step) {
  LORA_SHARED_MEMORY(std::int64_t, taken, 1);
  if (threadIdx.x == 0) {
    auto* const counter = reinterpret_cast<unsigned long long*>(step);
    const unsigned long long before = atomicAdd(counter, 1ull << kStepBits);
    const unsigned long long current = before & ((1ull << kStepBits) - 1);
    if (before >> kStepBits == gridDim.x - 1) atomicExch(counter, current + 1);
    taken[0] = static_cast<std::int64_t>(current);
  }
  __syncthreads();
  return taken[0];
}

/// A block at least, and at most kMostGatherBlocks; a block takes rows blockIdx.x, + gridDim.x, …
template <int kWidth>
__global__ void next_batch_kernel(MatrixView<const std::uint8_t> images,
                                  VectorView<const std::int32_t> labels,
                                  VectorView<const std::int64_t> order, std::int64_t* step,
                                  MatrixView<float> y, VectorView<std::int32_t> batch_labels,
                                  Normalization normalize) {
  const std::int64_t batch = take_step(step) % (order.size / y.rows);
  const std::int64_t* const rows = order.data + batch * y.rows;
  for (std::int64_t i = blockIdx.x; i < y.rows; i += gridDim.x) {
    const std::uint8_t* const from = row_or_null(images, rows[i]);
    normalize_row<kWidth>(from, y.data + i * y.stride, y.cols, normalize);
    if (threadIdx.x == 0) batch_labels.data[i] = from ? labels.data[rows[i]] : -1;
  }
}

}  // namespace lora::inline v0::cuda
