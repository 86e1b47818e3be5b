// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/attention_tile.cuh"

// Causal attention and its gradients, a block for each tile of queries or, for dk and dv, of keys;
// after Dao, "FlashAttention-2", 2023 (arXiv 2307.08691). The tiles of the other operands pass
// through shared memory, tiles of scores exist only there and in registers, and no two blocks write
// to one place, so that the same launch gives the same bits.
//
// A block's threads form a square of 16 by 16. Of a tile of scores a thread has every 16th row and
// column, of a tile of outputs every 16th row and column of the head. Columns and rows that are not
// there are zeros in shared memory.

namespace lora::inline v0::cuda {

/// y and log_sum_exp (B heads, T). The largest score of a row so far and the sum of exponentials
/// relative to it are kept online, after Milakov and Gimelshein, 2018 (arXiv 1805.02867).
template <class Tile>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    causal_attention_kernel(AttentionInputs in, MatrixView<float> y,
                            MatrixView<float> log_sum_exp) {
  LORA_DYNAMIC_SHARED_MEMORY(float, q);
  float* const k = q + Tile::kSize;
  float* const v = k + Tile::kSize;
  float* const p = v + Tile::kSize;
  const AttentionBlock block = AttentionBlock::of_queries<Tile>(in.shape);
  constexpr int kRows = Tile::kRowsOfThread;

  load_attention_tile<Tile>(in.q, block, in.shape, block.first, q, in.shape.scale);
  float largest[kRows], total[kRows];
  typename Tile::Outputs sums;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    largest[i] = -INFINITY;
    total[i] = 0;
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) sums[i][j] = 0;
  }
  for (int first = 0; first <= block.first; first += Tile::kRows) {
    __syncthreads();
    load_attention_tile<Tile>(in.k, block, in.shape, first, k);
    load_attention_tile<Tile>(in.v, block, in.shape, first, v);
    __syncthreads();
    typename Tile::Scores scores;
    attention_scores<Tile>(q, k, scores);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int query = block.first + Tile::thread_row() + i * kAttentionSide;
      float largest_here = largest[i];
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        const int key = first + Tile::thread_column() + j * kAttentionSide;
        if (key > query) scores[i][j] = -INFINITY;
        largest_here = fmaxf(largest_here, scores[i][j]);
      }
      largest_here = reduce_attention_row(largest_here, Maximum{});
      const float factor = expf(largest[i] - largest_here);
      largest[i] = largest_here;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        scores[i][j] = expf(scores[i][j] - largest_here);
        sum += scores[i][j];
      }
      total[i] = total[i] * factor + reduce_attention_row(sum, Sum{});
#pragma unroll
      for (int j = 0; j < Tile::kColumnsOfThread; ++j) sums[i][j] *= factor;
    }
    store_attention_scores<Tile>(scores, p);
    __syncthreads();
    add_attention_product<Tile>(p, v, sums);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int query = block.first + Tile::thread_row() + i * kAttentionSide;
    const float factor = 1.0f / total[i];
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) sums[i][j] *= factor;
    if (Tile::thread_column() == 0 && query < in.shape.length) {
      log_sum_exp.data[block.pair * log_sum_exp.stride + query] = largest[i] + logf(total[i]);
    }
  }
  store_attention_outputs<Tile>(sums, block, in.shape, y);
}

/// dq, and dy · y of each query for the kernel behind this one, (B heads, T).
template <class Tile>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    causal_attention_backward_q_kernel(AttentionInputs in, MatrixView<const float> dy,
                                       MatrixView<const float> y,
                                       MatrixView<const float> log_sum_exp, float* dy_y,
                                       MatrixView<float> dq) {
  LORA_DYNAMIC_SHARED_MEMORY(float, q);
  float* const of_dy = q + Tile::kSize;
  float* const k = of_dy + Tile::kSize;
  float* const v = k + Tile::kSize;
  float* const ds = v + Tile::kSize;
  const AttentionBlock block = AttentionBlock::of_queries<Tile>(in.shape);
  constexpr int kRows = Tile::kRowsOfThread;

  load_attention_tile<Tile>(in.q, block, in.shape, block.first, q, in.shape.scale);
  load_attention_tile<Tile>(dy, block, in.shape, block.first, of_dy);
  __syncthreads();
  float log_sum[kRows], dot[kRows];
  typename Tile::Outputs sums;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = Tile::thread_row() + i * kAttentionSide;
    const int query = block.first + row;
    const bool there = query < in.shape.length;
    const std::int64_t place = block.pair * in.shape.length + query;
    log_sum[i] = there ? log_sum_exp.data[place] : 0.0f;
    dot[i] = 0;
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) {
      sums[i][j] = 0;
      const int column = Tile::thread_column() + j * kAttentionSide;
      if (there && column < in.shape.columns) {
        dot[i] += of_dy[row * Tile::kStride + column] * block.row(y, in.shape, query)[column];
      }
    }
    dot[i] = reduce_attention_row(dot[i], Sum{});
    if (there && Tile::thread_column() == 0) dy_y[place] = dot[i];
  }
  for (int first = 0; first <= block.first; first += Tile::kRows) {
    __syncthreads();
    load_attention_tile<Tile>(in.k, block, in.shape, first, k);
    load_attention_tile<Tile>(in.v, block, in.shape, first, v);
    __syncthreads();
    typename Tile::Scores p, dp;
    attention_scores<Tile>(q, k, p);
    attention_scores<Tile>(of_dy, v, dp);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int query = block.first + Tile::thread_row() + i * kAttentionSide;
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        const int key = first + Tile::thread_column() + j * kAttentionSide;
        p[i][j] = key <= query ? expf(p[i][j] - log_sum[i]) * (dp[i][j] - dot[i]) : 0.0f;
      }
    }
    store_attention_scores<Tile>(p, ds);
    __syncthreads();
    add_attention_product<Tile>(ds, k, sums);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) sums[i][j] *= in.shape.scale;
  }
  store_attention_outputs<Tile>(sums, block, in.shape, dq);
}

/// dk and dv. The tiles of scores have a row for each key here, so that the sums over the queries
/// go along their rows.
template <class Tile>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    causal_attention_backward_kv_kernel(AttentionInputs in, MatrixView<const float> dy,
                                        MatrixView<const float> log_sum_exp, const float* dy_y,
                                        MatrixView<float> dk, MatrixView<float> dv) {
  LORA_DYNAMIC_SHARED_MEMORY(float, k);
  float* const v = k + Tile::kSize;
  float* const q = v + Tile::kSize;
  float* const of_dy = q + Tile::kSize;
  float* const weights = of_dy + Tile::kSize;
  const AttentionBlock block = AttentionBlock::of_keys<Tile>(in.shape);
  constexpr int kRows = Tile::kRowsOfThread;

  load_attention_tile<Tile>(in.k, block, in.shape, block.first, k);
  load_attention_tile<Tile>(in.v, block, in.shape, block.first, v);
  typename Tile::Outputs sums_k, sums_v;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kColumnsOfThread; ++j) sums_k[i][j] = sums_v[i][j] = 0;
  }
  for (int first = block.first; first < in.shape.length; first += Tile::kRows) {
    __syncthreads();
    load_attention_tile<Tile>(in.q, block, in.shape, first, q, in.shape.scale);
    load_attention_tile<Tile>(dy, block, in.shape, first, of_dy);
    __syncthreads();
    typename Tile::Scores p, ds;
    attention_scores<Tile>(k, q, p);
    attention_scores<Tile>(v, of_dy, ds);
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      const int query = first + Tile::thread_column() + j * kAttentionSide;
      const bool there = query < in.shape.length;
      const std::int64_t place = block.pair * in.shape.length + query;
      const float log_sum = there ? log_sum_exp.data[place] : 0.0f;
      const float dot = there ? dy_y[place] : 0.0f;
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int key = block.first + Tile::thread_row() + i * kAttentionSide;
        p[i][j] = there && key <= query ? expf(p[i][j] - log_sum) : 0.0f;
        ds[i][j] = p[i][j] * (ds[i][j] - dot);
      }
    }
    store_attention_scores<Tile>(p, weights);
    __syncthreads();
    add_attention_product<Tile>(weights, of_dy, sums_v);
    __syncthreads();
    store_attention_scores<Tile>(ds, weights);
    __syncthreads();
    add_attention_product<Tile>(weights, q, sums_k);
  }
  store_attention_outputs<Tile>(sums_k, block, in.shape, dk);
  store_attention_outputs<Tile>(sums_v, block, in.shape, dv);
}

}  // namespace lora::inline v0::cuda
