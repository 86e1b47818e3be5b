// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/conv2d_tiles.cuh"
#include "kernels/device/compat.cuh"
#include "kernels/device/reduce.cuh"

// The gradients of a convolution's weight and bias: sums over the positions of all images. Those of
// a weight are shared among chunks of positions, whose sums are added in order by a second kernel;
// how many there are depends on the sizes alone.

namespace lora::inline v0::cuda {

/// Group g, output o, tap k = (c, a, b):
///     dw[g, o, k] = Σ_n,i,j dy[n, g, o, i, j] x[n, g, c, row(i, a), col(j, b)]
struct ConvWeightGradient {
  const float* dy;
  std::int64_t dy_image, dy_group;
  int dy_plane;

  const float* x;
  std::int64_t x_image, x_group;
  int x_plane;
  ConvSteps rows, cols;

  float* sums;                 // dw, or the first chunk's partial sums
  std::int64_t sums_of_chunk;  // from chunk to chunk
  bool accumulate;

  int outputs, taps;                       // of a group
  int positions, chunks, chunk_positions;  // of all images
  PlaneDivisors of_position, of_tap;

  __device__ __forceinline__ void store(int chunk, int g, int o, int tap, float sum) const {
    const std::int64_t row = std::int64_t{g} * outputs + o;
    float* const to = sums + chunk * sums_of_chunk + row * taps + tap;
    *to = accumulate ? __fadd_rn(*to, sum) : sum;
  }
};

/// Block (k, o, (g, chunk)): a tile of taps and outputs of group g, summed over one chunk.
template <class Tile>
__global__ void __launch_bounds__(kConvThreads, 4)
    conv2d_weight_kernel(const __grid_constant__ ConvWeightGradient p) {
  using OfOutputs = AlongK<Tile::kHeight>;
  using OfTaps = AlongK<Tile::kWidth>;
  const int g = static_cast<int>(blockIdx.z) / p.chunks;
  const int chunk = static_cast<int>(blockIdx.z) % p.chunks;
  const int first_output = static_cast<int>(blockIdx.y) * Tile::kHeight;
  const int first_tap = static_cast<int>(blockIdx.x) * Tile::kWidth;
  const int begin = chunk * p.chunk_positions;
  const int end = min(p.positions, begin + p.chunk_positions);

  const float* const dy = p.dy + g * p.dy_group + std::int64_t{first_output} * p.dy_plane;
  const auto copy_dy = [&](int step, float(*tile)[Tile::kHeight + 4]) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int k = OfOutputs::k_of_lane(j);
      const int position = begin + step * kGemmDepth + k;
      const int image = p.of_position.plane.quotient(position);
      const float* const from = dy + image * p.dy_image + (position - image * p.dy_plane);
#pragma unroll
      for (int i = 0; i < OfOutputs::kRows; ++i) {
        const int m = OfOutputs::row_of_lane(i);
        copy_element(&tile[k][m], from + std::int64_t{m} * p.dy_plane,
                     position < end && first_output + m < p.outputs, p.dy);
      }
    }
  };

  const float* const x = p.x + g * p.x_group;
  const auto copy_x = [&](int step, float(*tile)[Tile::kWidth + 4]) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int k = OfTaps::k_of_lane(j);
      const int position = begin + step * kGemmDepth + k;
      const Place at = p.of_position.place(position);
      const float* const image = x + at.outer * p.x_image;
#pragma unroll
      for (int i = 0; i < OfTaps::kRows; ++i) {
        const int n = OfTaps::row_of_lane(i);
        const Place tap = p.of_tap.place(first_tap + n);
        const int row = p.rows.at(at.row, tap.row);
        const int col = p.cols.at(at.column, tap.column);
        const bool exists =
            position < end && first_tap + n < p.taps && p.rows.has(row) && p.cols.has(col);
        const std::int64_t offset = std::int64_t{tap.outer} * p.x_plane + row * p.cols.size + col;
        copy_element(&tile[k][n], image + offset, exists, p.x);
      }
    }
  };

  float4 sums[Tile::kRows][4][Tile::kColumns] = {};
  sum_tiles<Tile>((end - begin + kGemmDepth - 1) / kGemmDepth, copy_dy, copy_x, sums);
  for_each_sum<Tile>(sums, [&](int m, int n, float sum) {
    if (first_output + m >= p.outputs || first_tap + n >= p.taps) return;
    p.store(chunk, g, first_output + m, first_tap + n, sum);
  });
}

/// Block (k, o, g): one element, its positions shared by the threads, for groups of few outputs.
__global__ void __launch_bounds__(kConvThreads)
    conv2d_few_weights_kernel(const __grid_constant__ ConvWeightGradient p) {
  const int k = static_cast<int>(blockIdx.x);
  const int o = static_cast<int>(blockIdx.y);
  const int g = static_cast<int>(blockIdx.z);
  const Place tap = p.of_tap.place(k);
  const float* const dy = p.dy + g * p.dy_group + std::int64_t{o} * p.dy_plane;
  const float* const x = p.x + g * p.x_group + std::int64_t{tap.outer} * p.x_plane;
  float sum = 0;
  for (int position = static_cast<int>(threadIdx.x); position < p.positions;
       position += kConvThreads) {
    const Place at = p.of_position.place(position);
    const int row = p.rows.at(at.row, tap.row);
    const int col = p.cols.at(at.column, tap.column);
    if (!p.rows.has(row) || !p.cols.has(col)) continue;
    const int in_plane = position - at.outer * p.dy_plane;
    sum = __fmaf_rn(dy[at.outer * p.dy_image + in_plane],
                    x[at.outer * p.x_image + row * p.cols.size + col], sum);
  }
  sum = block_reduce(sum, Sum{}, 0.0f);
  if (threadIdx.x == 0) p.store(0, g, o, k, sum);
}

/// dw = the sums of all chunks, in order, on top of what is there if `accumulate`.
__global__ void __launch_bounds__(kConvThreads)
    conv2d_sum_chunks_kernel(const float* partials, int chunks, VectorView<float> dw,
                             bool accumulate) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  if (i >= dw.size) return;
  float sum = accumulate ? dw.data[i] : 0.0f;
  for (int c = 0; c < chunks; ++c) sum = __fadd_rn(sum, partials[c * dw.size + i]);
  dw.data[i] = sum;
}

/// Block o: db[o] = Σ_n Σ_p dy[n, o, p]
__global__ void __launch_bounds__(kConvThreads)
    conv2d_backward_bias_kernel(MatrixView<const float> dy, VectorView<float> db, bool accumulate) {
  float sum = 0;
  for (std::int64_t row = blockIdx.x; row < dy.rows; row += db.size) {
    for (std::int64_t i = threadIdx.x; i < dy.cols; i += kConvThreads) {
      sum = __fadd_rn(sum, dy.data[row * dy.stride + i]);
    }
  }
  sum = block_reduce(sum, Sum{}, 0.0f);
  if (threadIdx.x != 0) return;
  float* const to = db.data + blockIdx.x;
  *to = accumulate ? __fadd_rn(*to, sum) : sum;
}

}  // namespace lora::inline v0::cuda
