// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/tuning_linear.hpp"
#include "kernels/weight_sinks.cuh"
#include "kernels/workspace.hpp"

// What linear_backward_kernel is put together from.

namespace lora::inline v0::cuda {

struct BackwardArguments {
  const float* dy;  // (batch, out)
  std::int64_t dy_stride;
  const float* x;  // (batch, in); unused where nothing is updated
  std::int64_t x_stride;
  const float* w;  // (out, in), what dx is computed from; the sink's first matrix where it has one
  std::int64_t w_stride;
  const float* relu_output;  // (batch, in); null: no ReLU
  std::int64_t relu_stride;
  float* dx;  // (batch, in)
  std::int64_t dx_stride;
  const float* dh;  // (batch, rank)
  std::int64_t dh_stride;
  const float* a;  // (rank, in)
  std::int64_t a_stride;
  int rank;  // 0: no low-rank term
  int batch, in, out;
  int columns, rows;  // of a block's share of W
  bool vector;        // rows of W, of what the sink changes and of A, 16 bytes at a time
  Workspace workspace;
};

/// Rows of W whose part of dy is in shared memory at a time.
inline constexpr int kChunkRows = 128;

/// The rows of dy for a chunk of W's rows, as the warps read them: dy[quad][m] is the four factors
/// of the quad's rows for row m of the batch, 0 where there is no row.
__device__ __forceinline__ void stage_factors(const BackwardArguments& p, int first_row, int rows,
                                              int padded_batch, float* dy) {
  const int padded_rows = (rows + kRowsPerWarp - 1) / kRowsPerWarp * kRowsPerWarp;
  for (int i = static_cast<int>(threadIdx.x); i < padded_rows * padded_batch;
       i += static_cast<int>(blockDim.x)) {
    const int row = i % padded_rows;
    const int m = i / padded_rows;
    const bool exists = row < rows && m < p.batch;
    dy[(row / kRowsPerWarp * padded_batch + m) * kRowsPerWarp + row % kRowsPerWarp] =
        exists ? p.dy[m * p.dy_stride + first_row + row] : 0.0f;
  }
}

/// Stores a lane's four elements of dx.
__device__ __forceinline__ void store_dx(const BackwardArguments& p, int m, int first_column,
                                         int columns, int lane, float4 sum) {
  const float value[kLaneColumns] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
  for (int j = 0; j < kLaneColumns; ++j) {
    const int c = p.vector ? lane_column<true>(lane, j) : lane_column<false>(lane, j);
    if (c >= columns) continue;
    const int k = first_column + c;
    const bool off = p.relu_output != nullptr && p.relu_output[m * p.relu_stride + k] <= 0.0f;
    p.dx[m * p.dx_stride + k] = off ? 0.0f : value[j];
  }
}

/// Rows [first, end) of the bias, by the gradient Σ dy over the batch.
template <class Sink>
__device__ __forceinline__ void update_bias(const BackwardArguments& p, const Sink& bias, int first,
                                            int end) {
  const typename Sink::Step step = bias.step();
  for (int o = first + static_cast<int>(threadIdx.x); o < end; o += static_cast<int>(blockDim.x)) {
    float gradient = 0;
    for (int m = 0; m < p.batch; ++m) gradient = __fadd_rn(gradient, p.dy[m * p.dy_stride + o]);
    update_at(bias, step, o, 0, gradient);
  }
}

/// The block's columns of A, by the gradient dhᵀ x summed over the batch in order.
template <class Sink>
__device__ __forceinline__ void update_low_rank(const BackwardArguments& p, const Sink& a,
                                                int first_column, int columns) {
  const typename Sink::Step step = a.step();
  for (int i = static_cast<int>(threadIdx.x); i < p.rank * columns;
       i += static_cast<int>(blockDim.x)) {
    const int r = i / columns;
    const int k = first_column + i % columns;
    float gradient = 0;
#pragma unroll 8
    for (int m = 0; m < p.batch; ++m) {
      gradient = __fmaf_rn(p.dh[m * p.dh_stride + r], p.x[m * p.x_stride + k], gradient);
    }
    update_at(a, step, r, k, gradient);
  }
}

/// Where row m of the partial sum of dx stands that row block j of this range of columns leaves.
__device__ __forceinline__ float4* partial_row(const BackwardArguments& p, int j, int m) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * gridDim.y + j;
  return reinterpret_cast<float4*>(p.workspace.partials) + (block * p.batch + m) * kWarpSize;
}

/// A lane's four columns of a row of A.
template <bool kChanges>
__device__ __forceinline__ float4 load_low_rank(const float* row, bool vector, int lane,
                                                int columns) {
  if constexpr (kChanges) {
    return vector ? load_own_columns<true>(row, lane, columns)
                  : load_own_columns<false>(row, lane, columns);
  } else {
    return vector ? load_columns<true>(row, lane, columns)
                  : load_columns<false>(row, lane, columns);
  }
}

/// sum += dh A, whose rows are shared among the row blocks and, within one, among the warps.
/// kChanges: the kernel writes to A when all of this is done.
template <int kBatch, bool kChanges>
__device__ __forceinline__ void add_low_rank(const BackwardArguments& p, int first, int batch,
                                             int first_column, int columns, int warp, int warps,
                                             int lane, float4 (&sum)[kBatch]) {
  const int blocks = static_cast<int>(gridDim.y);
  for (int r = static_cast<int>(blockIdx.y) + blocks * warp; r < p.rank; r += blocks * warps) {
    const float* const row = p.a + r * p.a_stride + first_column;
    const float4 v = load_low_rank<kChanges>(row, p.vector, lane, columns);
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      if (m < batch) multiply_add(p.dh[(first + m) * p.dh_stride + r], v, sum[m]);
    }
  }
}

}  // namespace lora::inline v0::cuda
