// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/conv2d_tiles.cuh"
#include "kernels/device/compat.cuh"

// y from x, and dx from dy: each element of the result is a sum over channels and taps of the
// source, which its thread gathers. A launch has the positions of one residue by the stride (see
// detail/conv2d_sizes.hpp), of which there is one for y, so that no product is one with a 0 that
// the stride put there.

namespace lora::inline v0::cuda {

/// Group g, output (channel of the result) o, position (n, i, j):
///     result[n, g, o, i, j] = bias[g, o] + Σ_c,a,b w[g, o, c, a, b] source[n, g, c, row(i, a),
///     col(j, b)]
struct ConvGather {
  const float* source;
  std::int64_t source_image, source_group;
  int source_plane;
  ConvSteps rows, cols;

  const float* w;  // its element for the first taps
  std::int64_t w_group, w_output;
  int w_channel, w_row, w_col;  // from channel to channel, from tap to tap
  const float* bias;            // null: none

  float* result;  // its element at the first position
  std::int64_t result_image, result_group;
  int result_plane, result_row, result_col;
  bool accumulate;

  int outputs, positions, depth;  // of a group
  PlaneDivisors of_position, of_tap;

  __device__ __forceinline__ int w_offset(const Place& tap) const {
    return tap.outer * w_channel + tap.row * w_row + tap.column * w_col;
  }

  __device__ __forceinline__ void store(int g, int o, const Place& at, float sum) const {
    float* const to = result + at.outer * result_image + g * result_group +
                      static_cast<std::int64_t>(o) * result_plane + at.row * result_row +
                      at.column * result_col;
    if (bias != nullptr) sum = __fadd_rn(sum, bias[g * outputs + o]);
    *to = accumulate ? __fadd_rn(*to, sum) : sum;
  }
};

/// Block (p, o, g): a tile of positions and outputs of group g.
template <class Tile>
__global__ void __launch_bounds__(kConvThreads, 4)
    conv2d_gather_kernel(const __grid_constant__ ConvGather p) {
  using Lanes = AlongK<Tile::kHeight>;
  const int g = static_cast<int>(blockIdx.z);
  const int first_output = static_cast<int>(blockIdx.y) * Tile::kHeight;
  const int first_position = static_cast<int>(blockIdx.x) * Tile::kWidth;
  const float* const w = p.w + g * p.w_group;

  const auto copy_weights = [&](int step, float(*tile)[Tile::kHeight + 4]) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int k = Lanes::k_of_lane(j);
      const bool is_tap = step * kGemmDepth + k < p.depth;
      const float* const from =
          w + (is_tap ? p.w_offset(p.of_tap.place(step * kGemmDepth + k)) : 0);
#pragma unroll
      for (int i = 0; i < Lanes::kRows; ++i) {
        const int m = Lanes::row_of_lane(i);
        copy_element(&tile[k][m], from + (first_output + m) * p.w_output,
                     is_tap && first_output + m < p.outputs, p.w);
      }
    }
  };

  // A thread copies one column, whose position it knows.
  const int column = static_cast<int>(threadIdx.x) % Tile::kWidth;
  const bool is_position = first_position + column < p.positions;
  const Place own = p.of_position.place(is_position ? first_position + column : 0);
  const float* const image = p.source + own.outer * p.source_image + g * p.source_group;
  const auto copy_source = [&](int step, float(*tile)[Tile::kWidth + 4]) {
#pragma unroll 4
    for (int k = static_cast<int>(threadIdx.x) / Tile::kWidth; k < kGemmDepth;
         k += kConvThreads / Tile::kWidth) {
      const Place tap = p.of_tap.place(step * kGemmDepth + k);
      const int row = p.rows.at(own.row, tap.row);
      const int col = p.cols.at(own.column, tap.column);
      const bool exists =
          is_position && step * kGemmDepth + k < p.depth && p.rows.has(row) && p.cols.has(col);
      const std::int64_t offset =
          static_cast<std::int64_t>(tap.outer) * p.source_plane + row * p.cols.size + col;
      copy_element(&tile[k][column], image + offset, exists, p.source);
    }
  };

  float4 sums[Tile::kRows][4][Tile::kColumns] = {};
  sum_tiles<Tile>((p.depth + kGemmDepth - 1) / kGemmDepth, copy_weights, copy_source, sums);
  for_each_sum<Tile>(sums, [&](int m, int n, float sum) {
    if (first_output + m >= p.outputs || first_position + n >= p.positions) return;
    p.store(g, first_output + m, p.of_position.place(first_position + n), sum);
  });
}

/// Block (p, o, g): kConvThreads positions of output o of group g, for groups of so few outputs
/// that a tile would be empty: depthwise convolutions, the ranks of a LoRA.
__global__ void __launch_bounds__(kConvThreads)
    conv2d_few_outputs_kernel(const __grid_constant__ ConvGather p) {
  const int g = static_cast<int>(blockIdx.z);
  const int o = static_cast<int>(blockIdx.y);
  const int position = static_cast<int>(blockIdx.x * kConvThreads + threadIdx.x);
  if (position >= p.positions) return;
  const Place own = p.of_position.place(position);
  const float* const image = p.source + own.outer * p.source_image + g * p.source_group;
  const float* const w = p.w + g * p.w_group + o * p.w_output;
  float sum = 0;
  for (int k = 0; k < p.depth; ++k) {
    const Place tap = p.of_tap.place(k);
    const int row = p.rows.at(own.row, tap.row);
    const int col = p.cols.at(own.column, tap.column);
    if (!p.rows.has(row) || !p.cols.has(col)) continue;
    const std::int64_t offset =
        static_cast<std::int64_t>(tap.outer) * p.source_plane + row * p.cols.size + col;
    sum = __fmaf_rn(w[p.w_offset(tap)], image[offset], sum);
  }
  p.store(g, o, own, sum);
}

}  // namespace lora::inline v0::cuda
