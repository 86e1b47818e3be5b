// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/device/warp_sums.cuh"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning_linear.hpp"

// y = relu?(x Wᵀ + bias + h Bᵀ) with h = scale x Aᵀ, for batches of few rows: one launch, bound by
// reading W. With B rows of x, O rows of W and I columns it moves 4 (O I + blocks (B + R) I + B O)
// bytes, of which W comes from memory and the rest from the L2 cache.

namespace lora::inline v0::cuda {

/// What linear_kernel computes: y[m y_row + o y_column], m < batch, o < out.
struct LinearArguments {
  const float* x;  // (batch, in)
  std::int64_t x_stride;
  const float* w;  // (out, in)
  std::int64_t w_stride;
  const float* bias;  // null: none; bias[m bias_row + o bias_column]
  int bias_row, bias_column;
  float* y;
  std::int64_t y_row, y_column;
  int batch, in, out;
  int warps_out, warps_in;
  float scale;  // of x Wᵀ
  bool relu;
  bool vector;  // rows of x and W can be read 16 bytes at a time
  bool evict_first;

  int rank;        // 0: no low-rank term
  const float* a;  // (rank, in); unused where h is an input
  std::int64_t a_stride;
  bool a_vector;      // rows of x and A can be read 16 bytes at a time
  const float* left;  // h (batch, rank), where it is an input
  std::int64_t left_stride;
  const float* right;  // B (out, rank)
  std::int64_t right_stride;
  float* h;  // (batch, rank), where it is an output
  std::int64_t h_stride;
  float h_scale;
};

/// The arguments of y = relu?(x wᵀ + bias), without a low-rank term.
inline LinearArguments linear_arguments(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y,
                                        Activation activation) {
  LinearArguments p{};
  p.x = x.data;
  p.x_stride = x.stride;
  p.w = w.data;
  p.w_stride = w.stride;
  p.bias = bias.data;
  p.bias_column = 1;
  p.y = y.data;
  p.y_row = y.stride;
  p.y_column = 1;
  p.batch = static_cast<int>(x.rows);
  p.in = static_cast<int>(w.cols);
  p.out = static_cast<int>(w.rows);
  p.scale = 1;
  p.relu = activation == Activation::relu;
  p.vector = has_vector_rows(x) && has_vector_rows(w);
  return p;
}

/// The same y as its transpose, w xᵀ: W is the batch, and x what is read once, row by row.
inline LinearArguments transposed_linear_arguments(ConstMatrix x, ConstMatrix w, ConstVector bias,
                                                   Matrix y, Activation activation) {
  LinearArguments p = linear_arguments(w, x, bias, y, activation);
  p.y_row = 1;
  p.y_column = y.stride;
  p.bias_row = 1;
  p.bias_column = 0;
  return p;
}

/// Adds left rightᵀ to y, where h is an input: left (batch, rank), right (out, rank).
inline void add_low_rank(LinearArguments& p, ConstMatrix left, ConstMatrix right) {
  p.rank = static_cast<int>(right.cols);
  p.left = left.data;
  p.left_stride = left.stride;
  p.right = right.data;
  p.right_stride = right.stride;
}

/// sum[n kBatch + m] += x[m] · w[n] over the lane's columns of every step of its warp. The weight's
/// loads of kSteps steps are issued before the first is used. Every element of x is loaded once by
/// each group of warps that share columns, straight to registers: shared memory would add a
/// barrier before the first product and save nothing.
template <int kRows, int kBatch, bool kVector>
__device__ __forceinline__ void add_products(const float* x, std::int64_t x_stride, int batch,
                                             const float* const (&w)[kRows], int columns, int first,
                                             int step, bool evict_first, int lane,
                                             float (&sum)[kRows * kBatch]) {
  constexpr int kSteps = !kVector || kBatch > 10 ? 1 : kBatch > 2 ? 2 : 4;
  for (int k0 = first; k0 < columns; k0 += kSteps * step) {
    float4 weight[kSteps][kRows];
    if (kVector && evict_first) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int n = 0; n < kRows; ++n) {
          const int k = k0 + s * step;
          weight[s][n] = load_columns<kVector, Caching::kEvictFirst>(w[n] + k, lane, columns - k);
        }
      }
    } else {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int n = 0; n < kRows; ++n) {
          const int k = k0 + s * step;
          weight[s][n] = load_columns<kVector>(w[n] + k, lane, columns - k);
        }
      }
    }
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int k = k0 + s * step;
      if (s > 0 && k >= columns) break;
#pragma unroll
      for (int m = 0; m < kBatch; ++m) {
        const float4 v =
            load_columns<kVector>(x + m * x_stride + k, lane, m < batch ? columns - k : 0);
#pragma unroll
        for (int n = 0; n < kRows; ++n) {
          sum[n * kBatch + m] = dot(weight[s][n], v, sum[n * kBatch + m]);
        }
      }
    }
  }
}

/// The sums over the warp's columns of kRows rows of `w` from `row` on, to sums[n kBatch + m].
/// Rows past the last are the last again; nobody reads their sums.
template <int kRows, int kBatch>
__device__ __forceinline__ void store_products(const LinearArguments& p, const float* x, int batch,
                                               const float* w, std::int64_t w_stride, int row,
                                               int rows, bool vector, bool evict_first, int warp_in,
                                               int lane, float* sums) {
  const float* w_rows[kRows];
#pragma unroll
  for (int n = 0; n < kRows; ++n) w_rows[n] = w + min(row + n, rows - 1) * w_stride;
  float sum[kRows * kBatch] = {};
  const int first = warp_in * kWarpColumns;
  const int step = p.warps_in * kWarpColumns;
  if (vector) {
    add_products<kRows, kBatch, true>(x, p.x_stride, batch, w_rows, p.in, first, step, evict_first,
                                      lane, sum);
  } else {
    add_products<kRows, kBatch, false>(x, p.x_stride, batch, w_rows, p.in, first, step, false, lane,
                                       sum);
  }
  store_warp_sums(sum, lane, sums);
}

/// A block computes kRowsPerWarp · warps_out columns of y, kBatch rows at a time; W comes from
/// memory in the first pass and from the L1 and L2 caches in the others. The sum of x Wᵀ is taken
/// in the same order whatever kAdapterRows is: a layer whose adapter is off has the base's bits.
///
/// kAdapterRows > 0: every block computes h from A, kAdapterRows rows of A to a warp, and block 0
/// stores it. kAdapterRows == 0 and rank > 0: h is an input.
template <int kBatch, int kAdapterRows>
__global__ void __launch_bounds__(kForwardWarps* kWarpSize, 1) linear_kernel(LinearArguments p) {
  constexpr int kWarpSums = kRowsPerWarp * kBatch;
  constexpr bool kHasAdapter = kAdapterRows > 0;
  LORA_SHARED_MEMORY(float, partial, kForwardWarps* kWarpSums);
  LORA_SHARED_MEMORY(float, partial_h, kHasAdapter ? kForwardWarps* kMaxFusedRank* kBatch : 1);
  LORA_SHARED_MEMORY(float, h, kHasAdapter ? kMaxFusedRank* kBatch : 1);

  const int thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int lane = thread % kWarpSize;
  const int warp = thread / kWarpSize;
  const int warp_in = warp % p.warps_in;
  const int warp_out = warp / p.warps_in;
  const int block_rows = kRowsPerWarp * p.warps_out;
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;

  for (int first = 0; first < p.batch; first += kBatch) {
    const int batch = min(kBatch, p.batch - first);
    const float* const x = p.x + first * p.x_stride;
    store_products<kRowsPerWarp, kBatch>(p, x, batch, p.w, p.w_stride,
                                         first_row + kRowsPerWarp * warp_out, p.out, p.vector,
                                         p.evict_first, warp_in, lane, partial + warp * kWarpSums);
    if constexpr (kHasAdapter) {
      for (int r = kAdapterRows * warp_out; r < p.rank; r += kAdapterRows * p.warps_out) {
        store_products<kAdapterRows, kBatch>(p, x, batch, p.a, p.a_stride, r, p.rank, p.a_vector,
                                             false, warp_in, lane,
                                             partial_h + (warp_in * kMaxFusedRank + r) * kBatch);
      }
      __syncthreads();
      for (int i = thread; i < p.rank * kBatch; i += threads) {
        float sum = partial_h[i];
        for (int j = 1; j < p.warps_in; ++j) sum += partial_h[j * kMaxFusedRank * kBatch + i];
        sum = __fmul_rn(p.h_scale, sum);
        h[i] = sum;
        const int r = i / kBatch;
        const int m = i % kBatch;
        if (blockIdx.x == 0 && m < batch) p.h[(first + m) * p.h_stride + r] = sum;
      }
    }
    __syncthreads();
    for (int i = thread; i < block_rows * batch; i += threads) {
      const int row = i % block_rows;
      const int m = i / block_rows;
      const int o = first_row + row;
      if (o >= p.out) continue;
      const float* const sums =
          partial + row / kRowsPerWarp * p.warps_in * kWarpSums + row % kRowsPerWarp * kBatch + m;
      float sum = sums[0];
      for (int j = 1; j < p.warps_in; ++j) sum += sums[j * kWarpSums];
      sum = __fmul_rn(p.scale, sum);
      if (p.bias != nullptr) {
        sum = __fadd_rn(sum, p.bias[(first + m) * p.bias_row + o * p.bias_column]);
      }
      for (int r = 0; r < p.rank; ++r) {
        float factor;
        if constexpr (kHasAdapter) {
          factor = h[r * kBatch + m];
        } else {
          factor = p.left[(first + m) * p.left_stride + r];
        }
        sum = __fmaf_rn(factor, p.right[o * p.right_stride + r], sum);
      }
      if (p.relu && sum < 0.0f) sum = 0.0f;
      p.y[(first + m) * p.y_row + o * p.y_column] = sum;
    }
    if (first + kBatch < p.batch) __syncthreads();
  }
}

/// Chooses the kernel for the batch and launches it. `arguments` lacks what the config says.
template <int kAdapterRows>
cudaError_t launch_linear(LinearArguments arguments, cudaStream_t stream) {
  const ForwardConfig config = forward_config({arguments.batch, arguments.in, arguments.out});
  arguments.warps_out = config.warps_out;
  arguments.warps_in = config.warps_in;
  arguments.evict_first = config.evict_first;
  const LaunchConfig launch_config{
      static_cast<unsigned>(config.blocks),
      static_cast<unsigned>(config.warps_out * config.warps_in * kWarpSize), 0, stream};
  switch (config.batch_rows) {
    case 1:
      return launch(linear_kernel<1, kAdapterRows>, launch_config, arguments);
    case 2:
      return launch(linear_kernel<2, kAdapterRows>, launch_config, arguments);
    case 4:
      return launch(linear_kernel<4, kAdapterRows>, launch_config, arguments);
    case 8:
      return launch(linear_kernel<8, kAdapterRows>, launch_config, arguments);
    case 10:
      return launch(linear_kernel<10, kAdapterRows>, launch_config, arguments);
    // With 16 rows of x the registers hold the sums of two rows of A, not of four.
    default:
      return launch(linear_kernel<16, (kAdapterRows > 2 ? 2 : kAdapterRows)>, launch_config,
                    arguments);
  }
}

}  // namespace lora::inline v0::cuda
