// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning_linear.hpp"
#include "kernels/weight_sinks.cuh"
#include "kernels/workspace.hpp"

// dh = scale dy B, which the gradients of x and of A need whole, and in the same reading of dy the
// gradient dyᵀ h of B, to a sink that updates B. It moves dy once for every kRankTile columns of B,
// B and h, and twice the partial sums of dh: 8 row_blocks batch rank bytes, which stay in L2.

namespace lora::inline v0::cuda {

struct LowRankGradientArguments {
  const float* dy;  // (batch, out)
  std::int64_t dy_stride;
  const float*
      b;  // (out, rank), what dh is computed from; the sink's first matrix where it has one
  std::int64_t b_stride;
  const float* h;  // (batch, rank); unused without a sink
  std::int64_t h_stride;
  float* dh;  // (batch, rank)
  std::int64_t dh_stride;
  int batch, out, rank;
  int rows, row_blocks;  // of B, of a block
  float scale;
  bool adds_partials;  // or another launch does
  Workspace workspace;
};

/// Where the partial sum of dh(m, r) stands that row block j leaves.
__device__ __forceinline__ float* partial_dh(const LowRankGradientArguments& p, int j, int m,
                                             int r) {
  return p.workspace.partials + (static_cast<std::int64_t>(j) * p.batch + m) * p.rank + r;
}

/// Stores dh(m, r), the sum of what the row blocks left, in their order.
__device__ __forceinline__ void add_partials_of_dh(const LowRankGradientArguments& p, int m,
                                                   int r) {
  float total = __ldcg(partial_dh(p, 0, m, r));
#pragma unroll 8
  for (int j = 1; j < p.row_blocks; ++j) total += __ldcg(partial_dh(p, j, m, r));
  p.dh[m * p.dh_stride + r] = __fmul_rn(p.scale, total);
}

/// Block (i, j) owns `rows` rows of B, columns of dy, and kRankTile of its columns. Its piece of dy
/// stands in shared memory for both products, as many rows of the batch at a time as fit. A thread
/// has whole sums: of dh over the block's rows, of the gradient over the batch in order, so the
/// update sees the bits of every other kernel that forms the gradient of a weight. The old B is
/// read before and changed behind the last product, by its owner.
template <class Sink>
__global__ void __launch_bounds__(kGradientThreads)
    low_rank_gradient_kernel(LowRankGradientArguments p, Sink sink) {
  constexpr bool kHasSink = Sink::kStates > 0;
  constexpr int kMostElements = kMostGradientRows * kRankTile / kGradientThreads;
  LORA_SHARED_MEMORY(float, dy, kStagedElements + kStagedElements / kLeastGradientRows);
  LORA_SHARED_MEMORY(float, b, kMostGradientRows* kRankTile);
  LORA_SHARED_MEMORY(float, h, kHasSink ? kStagedElements / kLeastGradientRows* kRankTile : 1);

  const int thread = static_cast<int>(threadIdx.x);
  const int first_row = static_cast<int>(blockIdx.x) * p.rows;
  const int first_rank = static_cast<int>(blockIdx.y) * kRankTile;
  const int rows = min(p.rows, p.out - first_row);
  const int ranks = min(kRankTile, p.rank - first_rank);
  const int elements = rows * ranks;
  const int chunk = kStagedElements / p.rows;
  // One more than a multiple of 32: threads read one column of different rows at once.
  const int dy_row = p.rows + 1;

  for (int i = thread; i < elements; i += kGradientThreads) {
    b[i] = p.b[(first_row + i / ranks) * p.b_stride + first_rank + i % ranks];
  }
  float gradient[kMostElements] = {};
  for (int first = 0; first < p.batch; first += chunk) {
    const int batch = min(chunk, p.batch - first);
    if (first > 0) __syncthreads();
    for (int i = thread; i < batch * rows; i += kGradientThreads) {
      const int m = i / rows;
      const int o = i % rows;
      dy[m * dy_row + o] = p.dy[(first + m) * p.dy_stride + first_row + o];
    }
    if constexpr (kHasSink) {
      for (int i = thread; i < batch * ranks; i += kGradientThreads) {
        h[i] = p.h[(first + i / ranks) * p.h_stride + first_rank + i % ranks];
      }
    }
    __syncthreads();
    for (int i = thread; i < batch * ranks; i += kGradientThreads) {
      const int m = i / ranks;
      const int r = i % ranks;
      float sum = 0;
#pragma unroll 8
      for (int o = 0; o < rows; ++o) sum = __fmaf_rn(dy[m * dy_row + o], b[o * ranks + r], sum);
      if (p.row_blocks == 1) {
        p.dh[(first + m) * p.dh_stride + first_rank + r] = __fmul_rn(p.scale, sum);
      } else {
        *partial_dh(p, static_cast<int>(blockIdx.x), first + m, first_rank + r) = sum;
      }
    }
    if constexpr (kHasSink) {
#pragma unroll
      for (int i = 0; i < kMostElements; ++i) {
        const int element = thread + i * kGradientThreads;
        if (element >= elements) break;
        const float* const dy_column = dy + element / ranks;
        const float* const h_column = h + element % ranks;
#pragma unroll 4
        for (int m = 0; m < batch; ++m) {
          gradient[i] = __fmaf_rn(dy_column[m * dy_row], h_column[m * ranks], gradient[i]);
        }
      }
    }
  }
  if constexpr (kHasSink) {
    const typename Sink::Step step = sink.step();
#pragma unroll
    for (int i = 0; i < kMostElements; ++i) {
      const int element = thread + i * kGradientThreads;
      if (element >= elements) break;
      update_at(sink, step, first_row + element / ranks, first_rank + element % ranks, gradient[i]);
    }
  }
  if (p.row_blocks == 1 || !p.adds_partials) return;
  if (!is_last_block(p.workspace.arrivals + blockIdx.y, gridDim.x)) return;
  for (int i = thread; i < p.batch * ranks; i += kGradientThreads) {
    add_partials_of_dh(p, i / ranks, first_rank + i % ranks);
  }
}

/// The same sums by many blocks, an element of dh to a thread.
static __global__ void __launch_bounds__(kGradientThreads)
    low_rank_partials_kernel(LowRankGradientArguments p) {
  const int i = static_cast<int>(blockIdx.x) * kGradientThreads + static_cast<int>(threadIdx.x);
  if (i < p.batch * p.rank) add_partials_of_dh(p, i / p.rank, i % p.rank);
}

/// dh, and dyᵀ h to the sink, which changes `b`. NoSink: dh alone, with the same bits.
template <class Sink>
int launch_low_rank_gradient(ConstMatrix dy, ConstMatrix b, ConstMatrix h, Matrix dh, double scale,
                             const Sink& sink, void* stream) {
  if (dy.rows == 0 && Sink::kStates == 0) return cudaSuccess;
  const LowRankConfig config = low_rank_config(dy.rows, b.rows, b.cols);
  LowRankGradientArguments p{};
  p.dy = dy.data;
  p.dy_stride = dy.stride;
  p.b = b.data;
  p.b_stride = b.stride;
  p.h = h.data;
  p.h_stride = h.stride;
  p.dh = dh.data;
  p.dh_stride = dh.stride;
  p.batch = static_cast<int>(dy.rows);
  p.out = static_cast<int>(b.rows);
  p.rank = static_cast<int>(b.cols);
  p.rows = config.rows;
  p.row_blocks = config.row_blocks;
  p.scale = static_cast<float>(scale);
  p.adds_partials = config.adds_partials;
  if (config.row_blocks > 1) {
    const std::size_t partials =
        static_cast<std::size_t>(config.row_blocks) * static_cast<std::size_t>(dy.rows * b.cols);
    const int error = reserve_workspace(partials, static_cast<std::size_t>(config.rank_blocks),
                                        stream, &p.workspace);
    if (error != cudaSuccess) return error;
  }
  const dim3 grid(static_cast<unsigned>(config.row_blocks),
                  static_cast<unsigned>(config.rank_blocks));
  const int error = code_of(launch(low_rank_gradient_kernel<Sink>,
                                   {grid, kGradientThreads, 0, as_stream(stream)}, p, sink));
  if (error != cudaSuccess || config.row_blocks == 1 || config.adds_partials) return error;
  const auto blocks = static_cast<unsigned>(divide_up(dy.rows * b.cols, kGradientThreads));
  return code_of(
      launch(low_rank_partials_kernel, {blocks, kGradientThreads, 0, as_stream(stream)}, p));
}

}  // namespace lora::inline v0::cuda
