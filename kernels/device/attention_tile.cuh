// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// What the kernels of causal attention are made of: tiles of queries and keys in shared memory, and
// their products.

namespace lora::inline v0::cuda {

inline constexpr int kAttentionSide = 16;
inline constexpr int kAttentionThreads = kAttentionSide * kAttentionSide;

/// For heads of up to kColumns_ columns. Operands lie in shared memory with four floats between
/// rows, so that eight threads that read 16 bytes of eight rows meet in no bank.
template <int kColumns_>
struct AttentionTile {
  static constexpr int kColumns = kColumns_;
  static constexpr int kRows = kColumns > 64 ? 32 : 64;
  static constexpr int kStride = kColumns + 4;
  static constexpr int kScoreStride = kRows + 4;
  static constexpr int kSize = kRows * kStride;
  static constexpr int kScoreSize = kRows * kScoreStride;
  static constexpr int kRowsOfThread = kRows / kAttentionSide;
  static constexpr int kColumnsOfThread = kColumns / kAttentionSide;

  using Scores = float[kRowsOfThread][kRowsOfThread];
  using Outputs = float[kRowsOfThread][kColumnsOfThread];

  static __device__ __forceinline__ int thread_row() {
    return static_cast<int>(threadIdx.x) / kAttentionSide;
  }
  static __device__ __forceinline__ int thread_column() {
    return static_cast<int>(threadIdx.x) % kAttentionSide;
  }
};

struct AttentionShape {
  int length, heads, columns;  // T, heads, d
  float scale;                 // of the scores: 1/√d
};

struct AttentionInputs {
  MatrixView<const float> q, k, v;  // (B T, heads d)
  AttentionShape shape;
};

/// Which sequence, head and tile a block has. Those that take longest come first.
struct AttentionBlock {
  std::int64_t pair;
  int first;  // token of the tile

  template <class Tile>
  static __device__ __forceinline__ AttentionBlock of_queries(const AttentionShape& shape) {
    const int tiles = tiles_of<Tile>(shape);
    const std::int64_t tile = tiles - 1 - static_cast<std::int64_t>(blockIdx.x) % tiles;
    return {static_cast<std::int64_t>(blockIdx.x) / tiles, static_cast<int>(tile) * Tile::kRows};
  }
  template <class Tile>
  static __device__ __forceinline__ AttentionBlock of_keys(const AttentionShape& shape) {
    const int tiles = tiles_of<Tile>(shape);
    const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) % tiles;
    return {static_cast<std::int64_t>(blockIdx.x) / tiles, static_cast<int>(tile) * Tile::kRows};
  }

  /// The head's columns in row `token` of its sequence.
  template <class T>
  __device__ __forceinline__ T* row(const MatrixView<T>& x, const AttentionShape& shape,
                                    int token) const {
    const std::int64_t sequence = pair / shape.heads;
    const std::int64_t head = pair % shape.heads;
    return x.data + (sequence * shape.length + token) * x.stride + head * shape.columns;
  }

 private:
  template <class Tile>
  static __device__ __forceinline__ int tiles_of(const AttentionShape& shape) {
    return (shape.length + Tile::kRows - 1) / Tile::kRows;
  }
};

/// A tile's rows from token `first` on, times a factor.
template <class Tile>
__device__ __forceinline__ void load_attention_tile(const MatrixView<const float>& x,
                                                    const AttentionBlock& block,
                                                    const AttentionShape& shape, int first,
                                                    float* to, float factor = 1) {
  const float* const from = block.row(x, shape, first);
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows * Tile::kColumns;
       i += kAttentionThreads) {
    const int row = i / Tile::kColumns;
    const int column = i % Tile::kColumns;
    const bool there = first + row < shape.length && column < shape.columns;
    to[row * Tile::kStride + column] = there ? factor * from[row * x.stride + column] : 0.0f;
  }
}

/// scores = a bᵀ, of two tiles in shared memory.
template <class Tile>
__device__ __forceinline__ void attention_scores(const float* a, const float* b,
                                                 typename Tile::Scores& scores) {
  constexpr int kRows = Tile::kRowsOfThread;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kRows; ++j) scores[i][j] = 0;
  }
  a += Tile::thread_row() * Tile::kStride;
  b += Tile::thread_column() * Tile::kStride;
#pragma unroll 1
  for (int k = 0; k < Tile::kColumns; k += kWidest) {
    Floats<kWidest> of_a[kRows], of_b[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      of_a[i] = load<kWidest>(a + i * kAttentionSide * Tile::kStride + k);
      of_b[i] = load<kWidest>(b + i * kAttentionSide * Tile::kStride + k);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
#pragma unroll
        for (int n = 0; n < kWidest; ++n) scores[i][j] += of_a[i].v[n] * of_b[j].v[n];
      }
    }
  }
}

template <class Tile>
__device__ __forceinline__ void store_attention_scores(const typename Tile::Scores& scores,
                                                       float* to) {
#pragma unroll
  for (int i = 0; i < Tile::kRowsOfThread; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kRowsOfThread; ++j) {
      to[(Tile::thread_row() + i * kAttentionSide) * Tile::kScoreStride + Tile::thread_column() +
         j * kAttentionSide] = scores[i][j];
    }
  }
}

/// sums += scores b, both in shared memory.
template <class Tile>
__device__ __forceinline__ void add_attention_product(const float* scores, const float* b,
                                                      typename Tile::Outputs& sums) {
  scores += Tile::thread_row() * Tile::kScoreStride;
  b += Tile::thread_column();
#pragma unroll 1
  for (int k = 0; k < Tile::kRows; k += kWidest) {
    Floats<kWidest> p[Tile::kRowsOfThread];
#pragma unroll
    for (int i = 0; i < Tile::kRowsOfThread; ++i) {
      p[i] = load<kWidest>(scores + i * kAttentionSide * Tile::kScoreStride + k);
    }
#pragma unroll
    for (int n = 0; n < kWidest; ++n) {
#pragma unroll
      for (int j = 0; j < Tile::kColumnsOfThread; ++j) {
        const float factor = b[(k + n) * Tile::kStride + j * kAttentionSide];
#pragma unroll
        for (int i = 0; i < Tile::kRowsOfThread; ++i) sums[i][j] += p[i].v[n] * factor;
      }
    }
  }
}

/// Rows of the tile from token `first` on, as far as they are there.
template <class Tile>
__device__ __forceinline__ void store_attention_outputs(const typename Tile::Outputs& sums,
                                                        const AttentionBlock& block,
                                                        const AttentionShape& shape,
                                                        const MatrixView<float>& to) {
#pragma unroll
  for (int i = 0; i < Tile::kRowsOfThread; ++i) {
    const int token = block.first + Tile::thread_row() + i * kAttentionSide;
    if (token >= shape.length) continue;
    float* const row = block.row(to, shape, token);
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) {
      const int column = Tile::thread_column() + j * kAttentionSide;
      if (column < shape.columns) row[column] = sums[i][j];
    }
  }
}

/// op over the values of the 16 threads of one row, in each of them.
template <class Op>
__device__ __forceinline__ float reduce_attention_row(float value, const Op& op) {
#pragma unroll
  for (int mask = kAttentionSide / 2; mask > 0; mask /= 2) {
    value = op(value, shuffle_xor(value, mask));
  }
  return value;
}

struct Maximum {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// Shared memory of the forward kernel: q, k, v and a tile of scores; of the backward kernels one
/// operand more.
template <class Tile>
constexpr std::size_t attention_bytes(int operands) {
  return static_cast<std::size_t>(operands * Tile::kSize + Tile::kScoreSize) * sizeof(float);
}

}  // namespace lora::inline v0::cuda
