// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning_linear.hpp"

// C (m, n) = Σ_k L(m, k) R(k, n) for large batches, in float32 with fused multiply-adds. A block
// computes a tile of C in steps of 16 k: while it multiplies one step in shared memory, the next
// one is on its way there. Every element of C is summed by one thread in the order of k, so its
// bits do not depend on the tile.

namespace lora::inline v0::cuda {

inline constexpr int kGemmDepth = 16;

/// Memory order of an operand: its elements of one row or column of C beside each other (x and W in
/// x Wᵀ), or its elements of one k (both in dyᵀ x).
enum class Order { kAlongK, kAcross };

struct GemmOperand {
  const float* data;
  std::int64_t stride;
  int size;     // rows or columns of C
  bool vector;  // Order::kAcross: consists of whole 16-byte pieces
};

/// Σ_r left(m, r) right(r, n), added to the product: the low-rank term of a LoRA layer.
struct LowRankFactors {
  const float* left;
  std::int64_t left_row;
  const float* right;
  std::int64_t right_row, right_column;
  int rank;  // 0: none
};

/// A warp's tile is 32 kRows by 16 kColumns, of which a lane has kRows by kColumns pieces of four
/// by four, 32 rows and 16 columns apart: its loads from shared memory are 16 bytes, and those of
/// the warp are 128 bytes in a row or the same for several lanes, without bank conflicts.
template <int kRows_, int kColumns_, int kWarpsDown_, int kWarpsAcross_>
struct GemmTile {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kWarpsDown = kWarpsDown_;
  static constexpr int kWarpsAcross = kWarpsAcross_;
  static constexpr int kThreads = kWarpsDown * kWarpsAcross * kWarpSize;
  static constexpr int kHeight = 32 * kRows * kWarpsDown;
  static constexpr int kWidth = 16 * kColumns * kWarpsAcross;
};

using LargeTile = GemmTile<2, 2, 2, 4>;  // 128 x 128, 256 threads, 8 x 8 to each
using SmallTile = GemmTile<1, 2, 2, 2>;  // 64 x 64, 128 threads, 4 x 8 to each

/// Starts the copy of an operand's tile of kSize rows or columns by kGemmDepth k, as
/// tile[k][row or column]; what lies outside the operand is 0.
///
/// Along k, a warp copies eight neighbours of four rows, 4 bytes a lane: whole sectors of memory,
/// and as rows of the tile are 4 floats longer than a multiple of 32, one lane to each bank.
template <Order kOrder, int kSize, int kThreads>
__device__ __forceinline__ void copy_tile(const GemmOperand& p, int first, int k0, int depth,
                                          float (*tile)[kSize + 4]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpSize;
  const int warp = thread / kWarpSize;
  if constexpr (kOrder == Order::kAlongK) {
    constexpr int kRowsOfWarp = kSize / (kThreads / kWarpSize);
    const int row0 = warp * kRowsOfWarp + lane / 8;
    const float* const from = p.data + (first + row0) * p.stride + k0 + lane % 8;
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; i += 4) {
#pragma unroll
      for (int j = 0; j < kGemmDepth; j += 8) {
        const int k = lane % 8 + j;
        const bool exists = first + row0 + i < p.size && k0 + k < depth;
        ptx::cp_async_4_zfill(&tile[k][row0 + i], exists ? from + i * p.stride + j : p.data,
                              exists ? 4 : 0);
      }
    }
  } else if (p.vector) {
    constexpr int kPieces = kSize / 4;
#pragma unroll
    for (int i = thread; i < kPieces * kGemmDepth; i += kThreads) {
      const int k = i / kPieces;
      const int c = i % kPieces * 4;
      const bool exists = first + c < p.size && k0 + k < depth;
      ptx::cp_async_16_zfill(
          &tile[k][c], exists ? p.data + (k0 + k) * p.stride + first + c : p.data, exists ? 16 : 0);
    }
  } else {
#pragma unroll 1
    for (int i = thread; i < kSize * kGemmDepth; i += kThreads) {
      const int k = i / kSize;
      const int c = i % kSize;
      const bool exists = first + c < p.size && k0 + k < depth;
      ptx::cp_async_4_zfill(&tile[k][c], exists ? p.data + (k0 + k) * p.stride + first + c : p.data,
                            exists ? 4 : 0);
    }
  }
}

template <int kPieces>
struct Fragment {
  float4 piece[kPieces];
};

template <int kPieces, int kDistance>
__device__ __forceinline__ Fragment<kPieces> load_fragment(const float* row) {
  Fragment<kPieces> fragment;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    fragment.piece[i] = *reinterpret_cast<const float4*>(row + i * kDistance);
  }
  return fragment;
}

/// sums[i][r][j] += left[i].r right[j]: the outer product of a lane's share of one k.
template <int kRows, int kColumns>
__device__ __forceinline__ void add_outer_product(const Fragment<kRows>& left,
                                                  const Fragment<kColumns>& right,
                                                  float4 (&sums)[kRows][4][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      multiply_add(left.piece[i].x, right.piece[j], sums[i][0][j]);
      multiply_add(left.piece[i].y, right.piece[j], sums[i][1][j]);
      multiply_add(left.piece[i].z, right.piece[j], sums[i][2][j]);
      multiply_add(left.piece[i].w, right.piece[j], sums[i][3][j]);
    }
  }
}

/// Adds the low-rank term to a lane's sums, an outer product for each r. It is far from where the
/// time goes: rank / depth of the work.
template <class Tile>
__device__ __forceinline__ void add_low_rank(const LowRankFactors& p, int m0, int n0, int rows,
                                             int columns,
                                             float4 (&sums)[Tile::kRows][4][Tile::kColumns]) {
  for (int r = 0; r < p.rank; ++r) {
    const auto left_at = [&](int m) {
      return m < rows ? __ldg(p.left + m * p.left_row + r) : 0.0f;
    };
    const auto right_at = [&](int n) {
      return n < columns ? __ldg(p.right + r * p.right_row + n * p.right_column) : 0.0f;
    };
    Fragment<Tile::kRows> left;
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int m = m0 + 32 * i;
      left.piece[i] = make_float4(left_at(m), left_at(m + 1), left_at(m + 2), left_at(m + 3));
    }
    Fragment<Tile::kColumns> right;
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) {
      const int n = n0 + 16 * j;
      right.piece[j] = make_float4(right_at(n), right_at(n + 1), right_at(n + 2), right_at(n + 3));
    }
    add_outer_product(left, right, sums);
  }
}

/// `finish(m, n, columns, sum)` takes four neighbouring elements of C, of which min(4, columns)
/// exist; Finish::kMostThreads says how many threads of a multiprocessor its registers allow.
/// Shared memory: 34 KB with the large tile, 17 KB with the small.
template <class Tile, Order kLeft, Order kRight, class Finish>
__global__ void __launch_bounds__(Tile::kThreads, Finish::kMostThreads / Tile::kThreads)
    gemm_kernel(GemmOperand left, GemmOperand right, int depth, LowRankFactors low_rank,
                Finish finish) {
  constexpr int kHeight = Tile::kHeight;
  constexpr int kWidth = Tile::kWidth;
  using LeftTile = float[kGemmDepth][kHeight + 4];
  using RightTile = float[kGemmDepth][kWidth + 4];
  LORA_SHARED_MEMORY(LeftTile, left_tiles, 2);
  LORA_SHARED_MEMORY(RightTile, right_tiles, 2);

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int first_row = static_cast<int>(blockIdx.y) * kHeight;
  const int first_column = static_cast<int>(blockIdx.x) * kWidth;
  const int row = warp / Tile::kWarpsAcross * 32 * Tile::kRows + lane / 4 * 4;
  const int column = warp % Tile::kWarpsAcross * 16 * Tile::kColumns + lane % 4 * 4;

  const auto copy_step = [&](int step) {
    const int k0 = step * kGemmDepth;
    copy_tile<kLeft, kHeight, Tile::kThreads>(left, first_row, k0, depth, left_tiles[step % 2]);
    copy_tile<kRight, kWidth, Tile::kThreads>(right, first_column, k0, depth,
                                              right_tiles[step % 2]);
    ptx::cp_async_commit();
  };

  float4 sums[Tile::kRows][4][Tile::kColumns] = {};
  const int steps = (depth + kGemmDepth - 1) / kGemmDepth;
  if (steps > 0) copy_step(0);
  for (int step = 0; step < steps; ++step) {
    // What this thread copied is there; after the barrier, so is what the others did, and nobody
    // reads the tiles of the step before any more.
    ptx::cp_async_wait<0>();
    __syncthreads();
    if (step + 1 < steps) copy_step(step + 1);
#pragma unroll
    for (int k = 0; k < kGemmDepth; ++k) {
      add_outer_product(load_fragment<Tile::kRows, 32>(&left_tiles[step % 2][k][row]),
                        load_fragment<Tile::kColumns, 16>(&right_tiles[step % 2][k][column]), sums);
    }
  }
  add_low_rank<Tile>(low_rank, first_row + row, first_column + column, left.size, right.size, sums);
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int m = first_row + row + 32 * i + r;
      if (m >= left.size) continue;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        const int n = first_column + column + 16 * j;
        if (n < right.size) finish(m, n, right.size - n, sums[i][r][j]);
      }
    }
  }
}

/// Launches the kernel with the tile for the size of C. L's rows are C's rows.
template <Order kLeft, Order kRight, class Finish>
int launch_gemm(const GemmOperand& left, const GemmOperand& right, std::int64_t depth,
                const LowRankFactors& low_rank, const Finish& finish, void* stream) {
  const auto run = [&]<class Tile>(Tile) {
    const auto blocks = [](int size, int share) {
      return static_cast<unsigned>((size + share - 1) / share);
    };
    return code_of(launch(gemm_kernel<Tile, kLeft, kRight, Finish>,
                          {dim3(blocks(right.size, Tile::kWidth), blocks(left.size, Tile::kHeight)),
                           Tile::kThreads, 0, as_stream(stream)},
                          left, right, static_cast<int>(depth), low_rank, finish));
  };
  return gemm_config(left.size, right.size).tile == LargeTile::kHeight ? run(LargeTile{})
                                                                       : run(SmallTile{});
}

}  // namespace lora::inline v0::cuda
