// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/cpu/conv2d_planes.hpp>
#include <lora/cpu/gemm.hpp>
#include <lora/cpu/simd.hpp>

// The products of a convolution on the planes of conv2d_planes.hpp, where a tap is an offset. Every
// sum over taps runs in their order, every sum over positions image by image.

namespace lora::inline v0::cpu {

/// Some of the outputs (channels of the result) at some of the positions:
///     result[o][i row_step + j col_step] = Σ_k weights[o][k] planes[offsets[k] + i pitch + j]
/// plus bias[o], for i < rows, j < cols.
template <class T>
struct ConvProduct {
  const T* planes;
  const std::int64_t* offsets;
  std::int64_t taps;
  const T* weights;  // as PackConvCore leaves them
  std::int64_t outputs;
  std::int64_t pitch, rows, cols;
  T* result;
  std::int64_t result_plane, row_step, col_step;
  const T* bias;    // null: none
  bool accumulate;  // adds to what is there
};

/// How far ConvProductCore reads behind the last position: the widest tile.
template <class T>
constexpr std::int64_t kConvSlack = GemmTile<64>::kVectors * 64 / sizeof(T);

/// The next block of outputs, of those that are left: as in GemmCore, or four, or one, so that a
/// depthwise convolution or a LoRA's few ranks waste nothing.
template <int Bytes>
constexpr std::int64_t conv_block(std::int64_t left) {
  constexpr std::int64_t kRows = GemmTile<Bytes>::kRows;
  if (left >= kRows && (kRows != 6 || left != 8)) return kRows;
  return left >= 4 ? 4 : 1;
}

/// Copies w, whose element (o, k) is w[o row_step + offsets[k]], into blocks of outputs, each tap
/// by tap.
struct PackConvCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* w, std::int64_t row_step, const std::int64_t* offsets,
                                     std::int64_t taps, std::int64_t outputs, T* to) {
    for (std::int64_t o = 0; o < outputs;) {
      const std::int64_t block = conv_block<Bytes>(outputs - o);
      for (std::int64_t k = 0; k < taps; ++k) {
        const T* const from = w + o * row_step + offsets[k];
        for (std::int64_t m = 0; m < block; ++m) *to++ = from[m * row_step];
      }
      o += block;
    }
  }
};

/// What is stored for sums of neighbouring positions.
template <class T>
struct FinishedSums {
  const T* sums;
  const T* before;
  T bias;
  bool accumulate;

  template <class S>
  LORA_ALWAYS_INLINE void vector(std::int64_t i, typename S::Vector& v) const {
    v = *S::at(sums + i) + bias;
    if (accumulate) v += *S::at(before + i);
  }
  LORA_ALWAYS_INLINE T scalar(std::int64_t i) const {
    const T sum = sums[i] + bias;
    return accumulate ? before[i] + sum : sum;
  }
};

struct ConvProductCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const ConvProduct<T>& p) {
    using S = Simd<T, Bytes>;
    constexpr int M = GemmTile<Bytes>::kRows;
    constexpr int N = GemmTile<Bytes>::kVectors;
    constexpr std::int64_t W = S::kWidth;
    const std::int64_t positions = p.rows > 0 ? (p.rows - 1) * p.pitch + p.cols : 0;
    T sums[M * N * W];
    for (std::int64_t q = 0; q < positions;) {
      const std::int64_t width = positions - q > (N - 1) * W ? N * W : W;
      const T* const planes = p.planes + q;
      const T* weights = p.weights;
      for (std::int64_t o = 0; o < p.outputs;) {
        const std::int64_t block = conv_block<Bytes>(p.outputs - o);
        if (width == W) {
          block == M   ? tile<S, M, 1>(weights, planes, p.offsets, p.taps, sums)
          : block == 4 ? tile<S, 4, 1>(weights, planes, p.offsets, p.taps, sums)
                       : tile<S, 1, 1>(weights, planes, p.offsets, p.taps, sums);
        } else {
          block == M   ? tile<S, M, N>(weights, planes, p.offsets, p.taps, sums)
          : block == 4 ? tile<S, 4, N>(weights, planes, p.offsets, p.taps, sums)
                       : tile<S, 1, N>(weights, planes, p.offsets, p.taps, sums);
        }
        store<Bytes>(p, o, block, q, std::min(width, positions - q), width, sums);
        weights += block * p.taps;
        o += block;
      }
      q += width;
    }
  }

 private:
  template <class S, int M, int N, class T>
  static LORA_ALWAYS_INLINE void tile(const T* __restrict a, const T* __restrict planes,
                                      const std::int64_t* __restrict offsets, std::int64_t taps,
                                      T* __restrict sums) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    V sum[M][N];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] = V{};
    }
    for (std::int64_t k = 0; k < taps; ++k, a += M) {
      const T* const b = planes + offsets[k];
      V v[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) v[n] = *S::at(b + n * W);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const T factor = a[m];
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[m][n] += factor * v[n];
      }
    }
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) *S::at(sums + (m * N + n) * W) = sum[m][n];
    }
  }

  // Outputs [o, o + block), positions [q, q + count); `width` sums are kept for each output.
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void store(const ConvProduct<T>& p, std::int64_t o, std::int64_t block,
                                       std::int64_t q, std::int64_t count, std::int64_t width,
                                       const T* sums) {
    const std::int64_t first_row = q / p.pitch;
    const std::int64_t first_col = q % p.pitch;
    for (std::int64_t m = 0; m < block; ++m) {
      const T bias = p.bias ? p.bias[o + m] : T{0};
      const T* from = sums + m * width;
      T* row = p.result + (o + m) * p.result_plane + first_row * p.row_step;
      std::int64_t col = first_col;
      for (std::int64_t left = count; left > 0; row += p.row_step) {
        const std::int64_t n = std::min(p.cols - col, left);
        if (n > 0) {
          T* const to = row + col * p.col_step;
          if (p.col_step == 1) {
            write_run<Bytes>(to, n, FinishedSums<T>{from, to, bias, p.accumulate});
          } else {
            for (std::int64_t j = 0; j < n; ++j) {
              T& element = to[j * p.col_step];
              element = p.accumulate ? element + (from[j] + bias) : from[j] + bias;
            }
          }
        }
        from += p.pitch - col;
        left -= p.pitch - col;
        col = 0;
      }
    }
  }
};

/// Some images' part of a weight's gradient:
///     dw[o][k] += Σ_items Σ_q dy[o][q] planes[offsets[k] + q]
/// An item is a block of rows of one image. In its dy, a row of which is `positions` long,
/// positions of no element are 0.
template <class T>
struct ConvWeightProduct {
  const T* planes;
  const T* dy;
  std::int64_t items, item_distance;  // from item to item, of the planes and of dy alike
  std::int64_t positions;             // a multiple of any vector
  const std::int64_t* offsets;
  std::int64_t taps, outputs;
  T* dw;  // rows of `taps`
};

struct ConvWeightCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const ConvWeightProduct<T>& p) {
    using S = Simd<T, Bytes>;
    constexpr int N = Bytes == 64 ? 4 : 2;
    std::int64_t k = 0;
    for (; k + N <= p.taps; k += N) outputs<S, N>(p, k);
    for (; k < p.taps; ++k) outputs<S, 1>(p, k);
  }

 private:
  template <class S, int N, class T>
  static LORA_ALWAYS_INLINE void outputs(const ConvWeightProduct<T>& p, std::int64_t k) {
    std::int64_t o = 0;
    for (; o + 4 <= p.outputs; o += 4) tile<S, 4, N>(p, o, k);
    for (; o < p.outputs; ++o) tile<S, 1, N>(p, o, k);
  }

  // M outputs by N taps: M + N vectors are loaded for M N products.
  template <class S, int M, int N, class T>
  static LORA_ALWAYS_INLINE void tile(const ConvWeightProduct<T>& p, std::int64_t o,
                                      std::int64_t k) {
    using V = typename S::Vector;
    V sum[N][M];
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      LORA_UNROLL
      for (int m = 0; m < M; ++m) sum[n][m] = V{};
    }
    const std::int64_t positions = p.positions;
    for (std::int64_t item = 0; item < p.items; ++item) {
      const T* __restrict dy = p.dy + item * p.item_distance + o * positions;
      const T* __restrict planes = p.planes + item * p.item_distance;
      const T* from[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) from[n] = planes + p.offsets[k + n];
      for (std::int64_t q = 0; q < positions; q += S::kWidth) {
        V v[M];
        LORA_UNROLL
        for (int m = 0; m < M; ++m) v[m] = *S::at(dy + m * positions + q);
        LORA_UNROLL
        for (int n = 0; n < N; ++n) {
          const V x = *S::at(from[n] + q);
          LORA_UNROLL
          for (int m = 0; m < M; ++m) sum[n][m] += x * v[m];
        }
      }
    }
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      T sums[M];
      if constexpr (M == 4) {
        S::sum4(sum[n][0], sum[n][1], sum[n][2], sum[n][3], sums);
      } else {
        sums[0] = S::sum(sum[n][0]);
      }
      LORA_UNROLL
      for (int m = 0; m < M; ++m) p.dw[(o + m) * p.taps + k + n] += sums[m];
    }
  }
};

/// The sum of each of `outputs` channels over all images: db[o] = Σ_n Σ_p dy[n][o][p]
struct ConvBiasCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* dy, std::int64_t batch, std::int64_t image,
                                     std::int64_t plane, T* db, std::int64_t begin,
                                     std::int64_t end, bool accumulate) {
    using S = Simd<T, Bytes>;
    for (std::int64_t o = begin; o < end; ++o) {
      typename S::Vector sums{};
      T rest = 0;
      for (std::int64_t n = 0; n < batch; ++n) {
        const T* const from = dy + n * image + o * plane;
        std::int64_t i = 0;
        for (; i + S::kWidth <= plane; i += S::kWidth) sums += *S::at(from + i);
        for (; i < plane; ++i) rest += from[i];
      }
      db[o] = (accumulate ? db[o] : T{0}) + (S::sum(sums) + rest);
    }
  }
};

}  // namespace lora::inline v0::cpu
