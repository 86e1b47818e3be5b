// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// C = A B for large matrices, after Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", 2008 (ACM TOMS 34, 12), and BLIS: both operands are copied, a block at a time,
// into the order in which the innermost loop reads them; a block of B then stays in the third
// cache, one of A in the second, and C in registers. Every element of C is summed over k in
// ascending order, block by block, whatever the number of threads.

namespace lora::inline v0::cpu {

/// A matrix to be read in any order: element (i, j) is data[i * row_step + j * col_step].
template <class T>
struct GemmOperand {
  const T* data;
  std::int64_t row_step, col_step;

  const T* at(std::int64_t i, std::int64_t j) const { return data + i * row_step + j * col_step; }
};

template <class T>
GemmOperand<T> as_is(const MatrixView<const T>& x) {
  return {x.data, x.stride, 1};
}

template <class T>
GemmOperand<T> transposed(const MatrixView<const T>& x) {
  return {x.data, 1, x.stride};
}

/// The shape of the block of C in registers: rows, and vectors of columns.
template <int Bytes>
struct GemmTile {
  static constexpr int kRows = Bytes == 64 ? 8 : Bytes == 32 ? 6 : 4;
  static constexpr int kVectors = Bytes == 64 ? 3 : 2;
};

/// One block: rows [i, i + rows) of C times columns [j, j + cols), over k_count terms of the sums.
/// `packed_b` holds strips of kVectors vectors, each strip k by k.
struct GemmCore {
  static constexpr std::int64_t kDepth = 256;
  static constexpr std::int64_t kRows = 96;  // a multiple of every tile's rows

  // Up to so many columns of C, A is read where it lies: copying it would cost a sixth as much as
  // using it and more.
  static constexpr std::int64_t kColumnsWorthPacking = 256;

  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(GemmOperand<T> a, const T* packed_b, MatrixView<T> c,
                                     std::int64_t i, std::int64_t rows, std::int64_t j,
                                     std::int64_t cols, std::int64_t k, std::int64_t k_count,
                                     bool accumulate, T* packed_a) {
    constexpr int M = GemmTile<Bytes>::kRows;
    constexpr int N = GemmTile<Bytes>::kVectors;
    constexpr std::int64_t kStrip = N * Simd<T, Bytes>::kWidth;
    const bool packs = a.col_step != 1 || cols > kColumnsWorthPacking;
    if (packs) {
      pack<M>(rows, k_count, packed_a,
              [&](std::int64_t row, std::int64_t step) { return *a.at(i + row, k + step); });
    }
    for (std::int64_t column = 0; column < cols; column += kStrip) {
      for (std::int64_t row = 0; row < rows; row += M) {
        Tile<T, M> t{{},
                     packs ? M : 1,
                     packed_b + column * k_count,
                     k_count,
                     i + row,
                     std::min<std::int64_t>(M, rows - row),
                     j + column,
                     std::min(kStrip, cols - column),
                     accumulate};
        for (std::int64_t m = 0; m < M; ++m) {
          t.a[m] = packs ? packed_a + row * k_count + m : a.at(i + row + std::min(m, t.rows - 1), k);
        }
        narrowest_tile<Simd<T, Bytes>, N>(c, t);
      }
    }
  }

  /// Copies element(index, step) into strips of `Width` indices, each step by step, the last strip
  /// filled up with zeros.
  template <std::int64_t Width, class T, class Element>
  static LORA_ALWAYS_INLINE void pack(std::int64_t count, std::int64_t steps, T* to,
                                      const Element& element) {
    for (std::int64_t first = 0; first < count; first += Width) {
      const std::int64_t there = std::min(Width, count - first);
      for (std::int64_t step = 0; step < steps; ++step, to += Width) {
        for (std::int64_t n = 0; n < there; ++n) to[n] = element(first + n, step);
        for (std::int64_t n = there; n < Width; ++n) to[n] = 0;
      }
    }
  }

 private:
  // M rows of A times a strip of B: a part of C with as many columns as the strip has, or fewer at
  // the end.
  template <class T, int M>
  struct Tile {
    const T* a[M];
    std::int64_t a_step;
    const T* b;
    std::int64_t k_count;
    std::int64_t i, rows, j, cols;
    bool accumulate;
  };

  // With as few vectors of columns as the tile has use for, of Strip that B is packed in.
  template <class S, int Strip, int N = Strip, class T, int M>
  static LORA_ALWAYS_INLINE void narrowest_tile(const MatrixView<T>& c, const Tile<T, M>& t) {
    if constexpr (N > 1) {
      if (t.cols <= (N - 1) * S::kWidth) return narrowest_tile<S, Strip, N - 1>(c, t);
    }
    tile<S, N, Strip>(c, t);
  }

  template <class S, int N, int Strip, class T, int M>
  static LORA_ALWAYS_INLINE void tile(const MatrixView<T>& c, const Tile<T, M>& t) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    const T* __restrict b = t.b;
    const T* a[M];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) a[m] = t.a[m];
    V sum[M][N];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] = V{};
    }
    const std::int64_t end = t.k_count * t.a_step;
    for (std::int64_t k = 0; k < end; k += t.a_step, b += Strip * W) {
      V v[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) v[n] = *S::at(b + n * W);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const T factor = a[m][k];
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[m][n] += factor * v[n];
      }
    }
    // By way of memory, which costs little beside the sums, so that the edges of C are no case of
    // their own.
    T sums[M * N * W];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) *S::at(sums + (m * N + n) * W) = sum[m][n];
    }
    for (std::int64_t m = 0; m < t.rows; ++m) {
      T* const to = c.row(t.i + m) + t.j;
      const T* const from = sums + m * N * W;
      std::int64_t n = 0;
      for (; n + W <= t.cols; n += W) {
        const V before = t.accumulate ? V(*S::at(to + n)) : V{};
        *S::at(to + n) = before + *S::at(from + n);
      }
      for (; n < t.cols; ++n) to[n] = (t.accumulate ? to[n] : T{0}) + from[n];
    }
  }
};

/// Strips [begin, end) of a block of B, packed for GemmCore.
struct PackCore {
  template <int Bytes>
  static constexpr std::int64_t strip_width(std::size_t element) {
    return GemmTile<Bytes>::kVectors * Bytes / static_cast<std::int64_t>(element);
  }

  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(GemmOperand<T> b, std::int64_t k, std::int64_t k_count,
                                     std::int64_t j, std::int64_t cols, T* packed,
                                     std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kStrip = strip_width<Bytes>(sizeof(T));
    for (std::int64_t strip = begin; strip < end; ++strip) {
      const std::int64_t first = strip * kStrip;
      GemmCore::pack<kStrip>(
          std::min(kStrip, cols - first), k_count, packed + first * k_count,
          [&](std::int64_t n, std::int64_t step) { return *b.at(k + step, j + first + n); });
    }
  }
};

/// How many columns of B a strip has with the instruction set in use.
template <class T>
std::int64_t gemm_strip_width() {
  switch (isa()) {
    case Isa::avx512:
      return PackCore::strip_width<64>(sizeof(T));
    case Isa::avx2:
      return PackCore::strip_width<32>(sizeof(T));
    case Isa::baseline:
      break;
  }
  return PackCore::strip_width<16>(sizeof(T));
}

}  // namespace lora::inline v0::cpu

namespace lora::inline v0::detail {

/// C = A B or C += A B by a BLAS, where <lora/blas.hpp> has registered one; null otherwise.
LORA_SHARED inline void (*external_sgemm)(const cpu::GemmOperand<float>& a,
                                          const cpu::GemmOperand<float>& b, std::int64_t k_size,
                                          const MatrixView<float>& c, bool accumulate) = nullptr;

}  // namespace lora::inline v0::detail

namespace lora::inline v0::cpu {

/// C = A B, or C += A B; A: (m, k), B: (k, n), C: (m, n).
template <class T>
void gemm(GemmOperand<T> a, GemmOperand<T> b, std::int64_t k_size, MatrixView<T> c,
          bool accumulate) {
  if constexpr (std::is_same_v<T, float>) {
    if (lora::detail::external_sgemm) {
      return lora::detail::external_sgemm(a, b, k_size, c, accumulate);
    }
  }
  constexpr std::int64_t kCols = 3072;
  if (k_size == 0 && !accumulate) {
    for (std::int64_t i = 0; i < c.rows; ++i) std::fill_n(c.row(i), c.cols, T{});
  }
  const std::int64_t strip = gemm_strip_width<T>();
  thread_local std::vector<T> memory_b;
  memory_b.resize(static_cast<std::size_t>(std::min(GemmCore::kDepth, k_size) *
                                           (std::min(kCols, c.cols) + strip)));
  T* const packed_b = memory_b.data();
  for (std::int64_t j = 0; j < c.cols; j += kCols) {
    const std::int64_t cols = std::min(kCols, c.cols - j);
    for (std::int64_t k = 0; k < k_size; k += GemmCore::kDepth) {
      const std::int64_t k_count = std::min(GemmCore::kDepth, k_size - k);
      lora::detail::parallel_for((cols + strip - 1) / strip, 1,
                                 [&](std::int64_t begin, std::int64_t end) {
                                   run_simd<PackCore>(b, k, k_count, j, cols, packed_b, begin, end);
                                 });
      lora::detail::parallel_for(c.rows, 24, [&](std::int64_t begin, std::int64_t end) {
        thread_local std::vector<T> packed_a;
        packed_a.resize(static_cast<std::size_t>(GemmCore::kRows * GemmCore::kDepth));
        for (std::int64_t i = begin; i < end; i += GemmCore::kRows) {
          run_simd<GemmCore>(a, static_cast<const T*>(packed_b), c, i,
                             std::min(GemmCore::kRows, end - i), j, cols, k, k_count,
                             accumulate || k > 0, packed_a.data());
        }
      });
    }
  }
}

}  // namespace lora::inline v0::cpu
