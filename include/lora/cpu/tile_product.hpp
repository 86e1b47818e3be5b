// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/gemm.hpp>
#include <lora/cpu/simd.hpp>

namespace lora::inline v0::cpu {

/// C = A B or C += A B for operands in the nearest caches, of which nothing is copied first:
/// A: (rows, terms), B: (terms, N vectors), C: (rows, N vectors).
template <int N>
struct TileProductCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(GemmOperand<T> a, std::int64_t rows, std::int64_t terms,
                                     const T* b, std::int64_t b_stride, T* c, std::int64_t c_stride,
                                     bool accumulate) {
    constexpr int M = N == 1 || Bytes == 64 ? 8 : 4;
    std::int64_t i = 0;
    for (; i + M <= rows; i += M)
      block<Bytes, M>(a, i, terms, b, b_stride, c, c_stride, accumulate);
    if constexpr (M > 4) {
      for (; i + 4 <= rows; i += 4)
        block<Bytes, 4>(a, i, terms, b, b_stride, c, c_stride, accumulate);
    }
    for (; i < rows; ++i) block<Bytes, 1>(a, i, terms, b, b_stride, c, c_stride, accumulate);
  }

 private:
  template <int Bytes, int M, class T>
  static LORA_ALWAYS_INLINE void block(const GemmOperand<T>& a, std::int64_t i, std::int64_t terms,
                                       const T* __restrict from_b, std::int64_t b_stride, T* c,
                                       std::int64_t c_stride, bool accumulate) {
    using S = Simd<T, Bytes>;
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    const T* __restrict from_a = a.at(i, 0);
    const std::int64_t row_step = a.row_step;
    const std::int64_t col_step = a.col_step;
    V sum[M][N];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] = V{};
    }
    for (std::int64_t k = 0; k < terms; ++k, from_a += col_step, from_b += b_stride) {
      V v[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) v[n] = *S::at(from_b + n * W);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const T factor = from_a[m * row_step];
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[m][n] += factor * v[n];
      }
    }
    T* const to = c + i * c_stride;
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        auto* const place = S::at(to + m * c_stride + n * W);
        *place = accumulate ? V(*place) + sum[m][n] : sum[m][n];
      }
    }
  }
};

/// TileProductCore<N>, out of line.
template <int N, int Bytes, class T>
LORA_ALWAYS_INLINE void tile_product(const GemmOperand<T>& a, std::int64_t rows, std::int64_t terms,
                                     const T* b, std::int64_t b_stride, T* c, std::int64_t c_stride,
                                     bool accumulate) {
  run_within<TileProductCore<N>, Bytes>(a, rows, terms, b, b_stride, c, c_stride, accumulate);
}

}  // namespace lora::inline v0::cpu
