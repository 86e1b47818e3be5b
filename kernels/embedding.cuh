// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// Forward, 8 bytes an element: a block copies a row of W at a time, in packs where rows are
// aligned; a thread gathers an element of A's column, writing next to its neighbour.
//
// Backward, nothing is sorted and nothing is atomic: each position of the batch has a block, which
// ends at once if its index stands further in front, and else sums what dy has wherever the index
// stands, in the order of the batch, as the CPU does and to the same bits. So N positions with U
// different indices take U N comparisons of numbers that lie in the caches, and each row of dy is
// read once. An index that fills the batch is the work of one block.

namespace lora::inline v0::cuda {

/// The number that the index stands for, or -1 where it is none below `size`.
__device__ __forceinline__ std::int64_t number_of(float index, std::int64_t size) {
  // A NaN is not at least 0. The size may be rounded up.
  if (!(index >= 0.0f && index < static_cast<float>(size))) return -1;
  const auto number = static_cast<std::int64_t>(index);
  return number < size && static_cast<float>(number) == index ? number : -1;
}

template <int kWidth>
__global__ void embedding_kernel(VectorView<const float> indices, MatrixView<const float> weight,
                                 MatrixView<float> y, bool accumulate) {
  for (std::int64_t row = blockIdx.x; row < indices.size; row += gridDim.x) {
    const std::int64_t number = number_of(indices.data[row], weight.rows);
    const float* const from = number >= 0 ? weight.data + number * weight.stride : nullptr;
    float* const to = y.data + row * y.stride;
    for_each_pack_of_block<kWidth>(y.cols, [&]<int N>(Width<N>, std::int64_t i) {
      Floats<N> pack;
      if (from) {
        pack = load<N>(from + i);
      } else {
        for (float& element : pack.v) element = NAN;
      }
      if (accumulate) {
        const Floats<N> before = load<N>(to + i);
#pragma unroll
        for (int k = 0; k < N; ++k) pack.v[k] = __fadd_rn(before.v[k], pack.v[k]);
      }
      store(to + i, pack);
    });
  }
}

__global__ void embedding_columns_kernel(VectorView<const float> indices, MatrixView<const float> a,
                                         MatrixView<float> h, float scale) {
  for_each_pack<1>(h.rows * h.cols, [&](Width<1>, std::int64_t i) {
    const std::int64_t row = i / h.cols;
    const std::int64_t r = i % h.cols;
    const std::int64_t number = number_of(indices.data[row], a.cols);
    h.data[row * h.stride + r] = number < 0 ? NAN : __fmul_rn(scale, a.data[r * a.stride + number]);
  });
}

/// A gradient by index and column: rows of dw, or columns of da.
struct EmbeddingGradient {
  float* data;
  std::int64_t indices;
  std::int64_t index_stride, column_stride;
};

constexpr int kEmbeddingThreads = 256;

/// Block i: what the index at position i gets, if this is its first position. += scale Σ dy.
__global__ void __launch_bounds__(kEmbeddingThreads)
    embedding_backward_kernel(MatrixView<const float> dy, VectorView<const float> indices,
                              EmbeddingGradient gradient, float scale) {
  constexpr int kWarps = kEmbeddingThreads / kWarpSize;
  LORA_SHARED_MEMORY(int, of_warp, kWarps);
  LORA_SHARED_MEMORY(int, found, kEmbeddingThreads);
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t own = blockIdx.x;
  const float index = indices.data[own];
  const std::int64_t number = number_of(index, gradient.indices);
  if (number < 0) return;
  for (std::int64_t first = 0; first < own; first += kEmbeddingThreads) {
    const std::int64_t i = first + thread;
    if (__syncthreads_or(i < own && indices.data[i] == index)) return;
  }
  float* const to = gradient.data + number * gradient.index_stride;
  const unsigned lanes_below = (1u << lane_of_thread()) - 1;
  for (std::int64_t first = own; first < indices.size; first += kEmbeddingThreads) {
    // The positions that have the index, in their order.
    const std::int64_t i = first + thread;
    const bool is_equal = i < indices.size && indices.data[i] == index;
    const unsigned lanes = __ballot_sync(kAllLanes, is_equal);
    if (lane_of_thread() == 0) of_warp[warp_of_thread()] = __popc(lanes);
    __syncthreads();
    int place = __popc(lanes & lanes_below);
    int count = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      if (warp < warp_of_thread()) place += of_warp[warp];
      count += of_warp[warp];
    }
    if (is_equal) found[place] = thread;
    __syncthreads();
    if (count == 0) continue;
    const float* const rows = dy.data + first * dy.stride;
    for (std::int64_t column = thread; column < dy.cols; column += kEmbeddingThreads) {
      float sum = to[column * gradient.column_stride];
#pragma unroll 4
      for (int k = 0; k < count; ++k) {
        sum = __fadd_rn(sum, __fmul_rn(scale, rows[found[k] * dy.stride + column]));
      }
      to[column * gradient.column_stride] = sum;
    }
  }
}

}  // namespace lora::inline v0::cuda
