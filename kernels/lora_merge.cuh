// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/vec.cuh"
#include "kernels/tuning.hpp"

// W += scale B A with the product in registers: 8 bytes an element of W, while A and B, R times
// smaller, stay in the caches. A thread has a pack of columns in kMergeRows rows, so that a pack of
// A is loaded once for kMergeRows products. Products and sums are rounded one by one in the order
// of R, as the CPU does: the same bits.

namespace lora::inline v0::cuda {

/// The columns [column, column + N) of the rows [row, row + kMergeRows), as far as there are rows.
template <int N>
__device__ __forceinline__ void merge_tile(const MatrixView<const float>& a,
                                           const MatrixView<const float>& b,
                                           const MatrixView<float>& w, float scale,
                                           std::int64_t row, std::int64_t column) {
  Floats<N> sums[kMergeRows] = {};
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const Floats<N> from = load<N>(a.data + r * a.stride + column);
#pragma unroll
    for (int i = 0; i < kMergeRows; ++i) {
      const float factor = row + i < w.rows ? b.data[(row + i) * b.stride + r] : 0.0f;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        sums[i].v[k] = __fadd_rn(sums[i].v[k], __fmul_rn(factor, from.v[k]));
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kMergeRows; ++i) {
    if (row + i < w.rows) {
      float* const to = w.data + (row + i) * w.stride + column;
      Floats<N> pack = load<N>(to);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        pack.v[k] = __fadd_rn(pack.v[k], __fmul_rn(scale, sums[i].v[k]));
      }
      store(to, pack);
    }
  }
}

/// kWidth 4 takes a number of columns that is a multiple of 4, in rows that are aligned.
template <int kWidth>
__global__ void lora_merge_kernel(MatrixView<const float> a, MatrixView<const float> b,
                                  MatrixView<float> w, float scale) {
  const std::int64_t column = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kWidth;
  if (column >= w.cols) return;
  const std::int64_t step = std::int64_t{gridDim.y} * blockDim.y * kMergeRows;
  const std::int64_t first = (std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y) * kMergeRows;
  for (std::int64_t row = first; row < w.rows; row += step) {
    merge_tile<kWidth>(a, b, w, scale, row, column);
  }
}

}  // namespace lora::inline v0::cuda
