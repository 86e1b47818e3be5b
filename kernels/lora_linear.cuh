// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/warp_sums.cuh"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"

// dh = scale dy B, the part of a LoRA layer's backward pass that has to be there before the rest:
// the gradients of x and of A are sums over all of its columns.

namespace lora::inline v0::cuda {

inline constexpr int kGradientThreads = 256;
inline constexpr int kGradientRows = 4;   // rows of dy of a block
inline constexpr int kGradientRanks = 4;  // columns of B of a block

struct LowRankGradientArguments {
  const float* dy;  // (batch, out)
  std::int64_t dy_stride;
  const float* b;  // (out, rank)
  std::int64_t b_stride;
  float* dh;  // (batch, rank)
  std::int64_t dh_stride;
  int batch, out, rank;
  float scale;
};

/// Block (i, j): four rows of dh by four columns, the threads along the rows of B, whose sums are
/// added in the order of lanes and warps. It reads dy once for every four columns and B once for
/// every four rows; both are small, so latency counts, not bytes.
__global__ void __launch_bounds__(kGradientThreads)
    low_rank_gradient_kernel(LowRankGradientArguments p) {
  constexpr int kSums = kGradientRows * kGradientRanks;
  constexpr int kWarps = kGradientThreads / kWarpSize;
  LORA_SHARED_MEMORY(float, partial, kWarps* kSums);
  const int thread = static_cast<int>(threadIdx.x);
  const int first_row = static_cast<int>(blockIdx.x) * kGradientRows;
  const int first_rank = static_cast<int>(blockIdx.y) * kGradientRanks;
  float sum[kSums] = {};
#pragma unroll 2
  for (int o = thread; o < p.out; o += kGradientThreads) {
    float b[kGradientRanks];
#pragma unroll
    for (int r = 0; r < kGradientRanks; ++r) {
      b[r] = first_rank + r < p.rank ? p.b[o * p.b_stride + first_rank + r] : 0.0f;
    }
#pragma unroll
    for (int m = 0; m < kGradientRows; ++m) {
      const float dy = first_row + m < p.batch ? p.dy[(first_row + m) * p.dy_stride + o] : 0.0f;
#pragma unroll
      for (int r = 0; r < kGradientRanks; ++r) {
        sum[m * kGradientRanks + r] = __fmaf_rn(dy, b[r], sum[m * kGradientRanks + r]);
      }
    }
  }
  store_warp_sums(sum, thread % kWarpSize, partial + thread / kWarpSize * kSums);
  __syncthreads();
  if (thread >= kSums) return;
  const int m = first_row + thread / kGradientRanks;
  const int r = first_rank + thread % kGradientRanks;
  if (m >= p.batch || r >= p.rank) return;
  float total = partial[thread];
  for (int j = 1; j < kWarps; ++j) total += partial[j * kSums + thread];
  p.dh[m * p.dh_stride + r] = __fmul_rn(p.scale, total);
}

inline int launch_low_rank_gradient(ConstMatrix dy, ConstMatrix b, Matrix dh, double scale,
                                    void* stream) {
  const LowRankGradientArguments p{dy.data,
                                   dy.stride,
                                   b.data,
                                   b.stride,
                                   dh.data,
                                   dh.stride,
                                   static_cast<int>(dy.rows),
                                   static_cast<int>(b.rows),
                                   static_cast<int>(b.cols),
                                   static_cast<float>(scale)};
  const auto blocks = [](std::int64_t size, int share) {
    return static_cast<unsigned>((size + share - 1) / share);
  };
  return code_of(launch(low_rank_gradient_kernel,
                        {dim3(blocks(dy.rows, kGradientRows), blocks(b.cols, kGradientRanks)),
                         kGradientThreads, 0, as_stream(stream)},
                        p));
}

}  // namespace lora::inline v0::cuda
