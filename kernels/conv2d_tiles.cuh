// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/detail/conv2d_sizes.hpp>

#include "kernels/device/compat.cuh"
#include "kernels/device/divisor.cuh"
#include "kernels/gemm.cuh"

// A convolution's products as those of gemm.cuh, whose unfolded operand is never there: the threads
// work out where each of its elements lies in the image when they copy it to shared memory.

namespace lora::inline v0::cuda {

using ConvSquareTile = GemmTile<1, 2, 2, 2>;  // 64 x 64
using ConvFlatTile = GemmTile<1, 2, 1, 4>;    // 32 x 128, for up to 32 channels
inline constexpr int kConvThreads = 128;
static_assert(ConvSquareTile::kThreads == kConvThreads && ConvFlatTile::kThreads == kConvThreads);

/// One axis of an image that taps read: position i, tap t read element start + i step + t tap,
/// which is 0 outside its `size` elements.
struct ConvSteps {
  int start, step, tap, size;

  __device__ __forceinline__ int at(int position, int t) const {
    return start + position * step + t * tap;
  }
  __device__ __forceinline__ bool has(int index) const {
    return static_cast<unsigned>(index) < static_cast<unsigned>(size);
  }
};

inline ConvSteps make_steps(const detail::AxisGather& g) {
  return {static_cast<int>(g.start), static_cast<int>(g.source_step),
          static_cast<int>(g.source_tap), static_cast<int>(g.size)};
}

/// Copies a tile whose elements are neighbours along k, as copy_tile does: `row(i)` gives what the
/// lane has to know of its i-th row, which is row `row_of_lane(i)`.
template <int kSize>
struct AlongK {
  static constexpr int kRowsOfWarp = kSize / (kConvThreads / kWarpSize);
  static constexpr int kRows = kRowsOfWarp / 4;  // of a lane

  static __device__ __forceinline__ int row_of_lane(int i) {
    return warp_of_thread() * kRowsOfWarp + lane_of_thread() / 8 + 4 * i;
  }
  static __device__ __forceinline__ int k_of_lane(int j) { return lane_of_thread() % 8 + 8 * j; }
};

/// Starts the copy of one element to shared memory, or of a 0. `any` is an address that may be
/// read.
__device__ __forceinline__ void copy_element(float* to, const float* from, bool exists,
                                             const float* any) {
  ptx::cp_async_4_zfill(to, exists ? from : any, exists ? 4 : 0);
}

/// Where a lane's sums lie in the tile.
template <class Tile>
__device__ __forceinline__ int row_of_sums() {
  return warp_of_thread() / Tile::kWarpsAcross * 32 * Tile::kRows + lane_of_thread() / 4 * 4;
}
template <class Tile>
__device__ __forceinline__ int column_of_sums() {
  return warp_of_thread() % Tile::kWarpsAcross * 16 * Tile::kColumns + lane_of_thread() % 4 * 4;
}

/// Sums over `steps` times kGemmDepth k. `left` and `right` are called with a step and the tile
/// that they have to start copying.
template <class Tile, class Left, class Right>
__device__ __forceinline__ void sum_tiles(int steps, const Left& left, const Right& right,
                                          float4 (&sums)[Tile::kRows][4][Tile::kColumns]) {
  using LeftTile = float[kGemmDepth][Tile::kHeight + 4];
  using RightTile = float[kGemmDepth][Tile::kWidth + 4];
  LORA_SHARED_MEMORY(LeftTile, left_tiles, 2);
  LORA_SHARED_MEMORY(RightTile, right_tiles, 2);
  const int row = row_of_sums<Tile>();
  const int column = column_of_sums<Tile>();
  const auto copy_step = [&](int step) {
    left(step, left_tiles[step % 2]);
    right(step, right_tiles[step % 2]);
    ptx::cp_async_commit();
  };
  if (steps > 0) copy_step(0);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<0>();
    __syncthreads();
    if (step + 1 < steps) copy_step(step + 1);
#pragma unroll
    for (int k = 0; k < kGemmDepth; ++k) {
      add_outer_product(load_fragment<Tile::kRows, 32>(&left_tiles[step % 2][k][row]),
                        load_fragment<Tile::kColumns, 16>(&right_tiles[step % 2][k][column]), sums);
    }
  }
}

/// Calls finish(m, n, sum) for each of the lane's sums, by row and column of the tile.
template <class Tile, class Finish>
__device__ __forceinline__ void for_each_sum(const float4 (&sums)[Tile::kRows][4][Tile::kColumns],
                                             const Finish& finish) {
#pragma unroll
  for (int j = 0; j < Tile::kColumns; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = column_of_sums<Tile>() + 16 * j + i;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int m = row_of_sums<Tile>() + r;
        const float4& four = sums[0][r][j];
        finish(m, n, i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w);
      }
    }
  }
}

}  // namespace lora::inline v0::cuda
