// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// What the benchmarks launch beside the library's kernels. Compiled by nvcc, called from g++.

namespace lora_bench {

/// Blocks of launch_read, and so the number of its sums.
constexpr int kReadBlocks = 2048;

/// Reads `size` floats, a multiple of 4, once each and writes nothing but kReadBlocks sums.
cudaError_t launch_read(const float* x, std::int64_t size, float* sums, cudaStream_t stream);

/// Keeps the stream busy for some tens of microseconds.
cudaError_t launch_delay(cudaStream_t stream);

cudaError_t launch_nothing(cudaStream_t stream);

}  // namespace lora_bench
