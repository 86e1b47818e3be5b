// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <lora/cpu/gemm.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/cpu/stored_float.hpp>
#include <lora/cpu/vectors.hpp>

// W + L P for rows of a weight as they lie in a file: decoded, changed in registers, rounded once.
// The terms of an element are summed in ascending order before W is added, whatever the rows that
// are worked on together, so that its bits depend on the instruction set alone.

namespace lora::inline v0::cpu {

namespace detail {

/// largest = max(largest, |v|), as the integers that numbers of one sign are ordered like; a NaN is
/// the largest of all.
template <class S>
LORA_ALWAYS_INLINE void keep_largest(const typename S::Vector& v, typename S::Bits& largest) {
  using Bits = typename S::Bits;
  const Bits size = reinterpret_cast<Bits>(v) & std::numeric_limits<typename S::Integer>::max();
  largest = size > largest ? size : largest;
}

template <class S, class C>
LORA_ALWAYS_INLINE bool reaches(const typename S::Bits& largest, C limit) {
  bool result = false;
  for (int i = 0; i < S::kWidth; ++i) {
    result |= largest[i] >= std::bit_cast<typename S::Integer>(limit);
  }
  return result;
}

}  // namespace detail

/// The block of W in registers: rows, and vectors of columns.
template <int Bytes>
struct MergeTile {
  static constexpr int kRows = Bytes == 16 ? 4 : 6;
  static constexpr int kVectors = Bytes == 64 ? 4 : 2;
  template <class C>
  static constexpr std::int64_t kColumns = kVectors* Simd<C, Bytes>::kWidth;
};

/// P (R, cols), packed for MergeRowsCore: a strip as wide as a tile behind the other, filled up
/// with zeros.
struct PackRightCore {
  template <int Bytes, class T, class C>
  static LORA_ALWAYS_INLINE void run(GemmOperand<T> p, std::int64_t rank, std::int64_t cols,
                                     std::vector<C>* packed) {
    constexpr std::int64_t kStrip = MergeTile<Bytes>::template kColumns<C>;
    packed->resize(static_cast<std::size_t>((cols + kStrip - 1) / kStrip * kStrip * rank));
    C* to = packed->data();
    for (std::int64_t first = 0; first < cols; first += kStrip) {
      const std::int64_t count = std::min(kStrip, cols - first);
      for (std::int64_t r = 0; r < rank; ++r, to += kStrip) {
        for (std::int64_t k = 0; k < count; ++k) to[k] = static_cast<C>(*p.at(r, first + k));
        for (std::int64_t k = count; k < kStrip; ++k) to[k] = 0;
      }
    }
  }
};

/// Some rows of W (rows, cols), to be changed by L (rows, R) times P.
template <class C>
struct MergeRows {
  const std::byte* from;
  std::byte* to;
  std::int64_t rows, cols;
  const C* left;   // (rows, R)
  const C* right;  // as PackRightCore packs it
  std::int64_t rank;
};

/// Reads rows of type In and writes them as Out, both of whose Wide is C. *overflows is set where
/// an element of the result may not be finite.
template <class In, class Out>
struct MergeRowsCore {
  template <int Bytes, class C>
  static LORA_ALWAYS_INLINE void run(MergeRows<C> w, bool* overflows) {
    constexpr int M = MergeTile<Bytes>::kRows;
    using Bits = typename Simd<C, Bytes>::Bits;
    Bits largest = Bits{};
    std::int64_t row = 0;
    for (; row + M <= w.rows; row += M) rows<Bytes, M>(w, row, largest);
    for (; row < w.rows; ++row) rows<Bytes, 1>(w, row, largest);
    *overflows |= detail::reaches<Simd<C, Bytes>>(largest, Out::kOverflow);
  }

 private:
  template <int Bytes, int M, class C>
  static LORA_ALWAYS_INLINE void rows(const MergeRows<C>& w, std::int64_t row,
                                      typename Simd<C, Bytes>::Bits& largest) {
    constexpr std::int64_t kStrip = MergeTile<Bytes>::template kColumns<C>;
    const std::byte* const from = w.from + row * w.cols * std::int64_t{In::kBytes};
    std::byte* const to = w.to + row * w.cols * std::int64_t{Out::kBytes};
    const C* right = w.right;
    std::int64_t k = 0;
    for (; k + kStrip <= w.cols; k += kStrip, right += kStrip * w.rank) {
      tile<Bytes, M>(w, row, right, from + k * std::int64_t{In::kBytes}, w.cols,
                     to + k * std::int64_t{Out::kBytes}, w.cols, largest);
    }
    const std::int64_t left_over = w.cols - k;
    if (left_over == 0) return;
    std::byte last_in[static_cast<std::size_t>(M * kStrip) * In::kBytes] = {};
    std::byte last_out[static_cast<std::size_t>(M * kStrip) * Out::kBytes];
    for (std::int64_t m = 0; m < M; ++m) {
      std::memcpy(last_in + m * kStrip * std::int64_t{In::kBytes},
                  from + (m * w.cols + k) * std::int64_t{In::kBytes},
                  static_cast<std::size_t>(left_over) * In::kBytes);
    }
    tile<Bytes, M>(w, row, right, last_in, kStrip, last_out, kStrip, largest);
    for (std::int64_t m = 0; m < M; ++m) {
      std::memcpy(to + (m * w.cols + k) * std::int64_t{Out::kBytes},
                  last_out + m * kStrip * std::int64_t{Out::kBytes},
                  static_cast<std::size_t>(left_over) * Out::kBytes);
    }
  }

  // M rows of one strip; `from` and `to` have so many elements from row to row.
  template <int Bytes, int M, class C>
  static LORA_ALWAYS_INLINE void tile(const MergeRows<C>& w, std::int64_t row,
                                      const C* __restrict right, const std::byte* from,
                                      std::int64_t from_stride, std::byte* to,
                                      std::int64_t to_stride,
                                      typename Simd<C, Bytes>::Bits& largest) {
    using S = Simd<C, Bytes>;
    using V = typename S::Vector;
    constexpr int N = MergeTile<Bytes>::kVectors;
    constexpr int W = S::kWidth;
    const C* const __restrict left = w.left + row * w.rank;
    const std::int64_t rank = w.rank;
    V sum[M][N];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] = V{};
    }
    for (std::int64_t r = 0; r < rank; ++r, right += N * W) {
      V v[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) v[n] = *S::at(right + n * W);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const C factor = left[m * rank + r];
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[m][n] += factor * v[n];
      }
    }
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        V v;
        In::template load<S>(from + (m * from_stride + n * W) * std::int64_t{In::kBytes}, v);
        v += sum[m][n];
        detail::keep_largest<S>(v, largest);
        Out::template store<S>(v, to + (m * to_stride + n * W) * std::int64_t{Out::kBytes});
      }
    }
  }
};

/// Writes rows (rows, cols) as Out, each times its gain, or each column times its own. *overflows
/// as for MergeRowsCore.
template <class Out>
struct ScaleRowsCore {
  template <int Bytes, class C>
  static LORA_ALWAYS_INLINE void run(const C* from, std::byte* to, std::int64_t rows,
                                     std::int64_t cols, const C* gains, bool by_column,
                                     bool* overflows) {
    using S = Simd<C, Bytes>;
    typename S::Bits largest = {};
    for (std::int64_t row = 0; row < rows; ++row, from += cols) {
      C row_gain[S::kWidth];
      for (C& gain : row_gain) gain = by_column ? C{1} : gains[row];
      std::int64_t k = 0;
      for (; k + S::kWidth <= cols; k += S::kWidth, to += S::kWidth * std::int64_t{Out::kBytes}) {
        scale<S>(from + k, by_column ? gains + k : row_gain, to, largest);
      }
      const std::int64_t left_over = cols - k;
      if (left_over == 0) continue;
      const Padded<C, S::kWidth> last(from + k, left_over, C{0});
      if (by_column) std::copy_n(gains + k, left_over, row_gain);
      std::byte scaled[static_cast<std::size_t>(S::kWidth) * Out::kBytes];
      scale<S>(last.data, row_gain, scaled, largest);
      std::memcpy(to, scaled, static_cast<std::size_t>(left_over) * Out::kBytes);
      to += left_over * std::int64_t{Out::kBytes};
    }
    *overflows |= detail::reaches<S>(largest, Out::kOverflow);
  }

 private:
  template <class S, class C>
  static LORA_ALWAYS_INLINE void scale(const C* from, const C* gains, std::byte* to,
                                       typename S::Bits& largest) {
    const typename S::Vector v = *S::at(from) * *S::at(gains);
    detail::keep_largest<S>(v, largest);
    Out::template store<S>(v, to);
  }
};

/// squares[k] += x(row, k)² for some rows (rows, cols), in order.
struct ColumnSquaresCore {
  template <int Bytes, class C>
  static LORA_ALWAYS_INLINE void run(const C* x, std::int64_t rows, std::int64_t cols,
                                     double* squares) {
    using S = Simd<double, Bytes>;
    using V = typename S::Vector;
    typedef C Few
        __attribute__((vector_size(S::kWidth * sizeof(C)), aligned(sizeof(C)), may_alias));
    for (std::int64_t row = 0; row < rows; ++row, x += cols) {
      std::int64_t k = 0;
      for (; k + S::kWidth <= cols; k += S::kWidth) {
        const V v = __builtin_convertvector(*reinterpret_cast<const Few*>(x + k), V);
        *S::at(squares + k) += v * v;
      }
      for (; k < cols; ++k) squares[k] += double{x[k]} * double{x[k]};
    }
  }
};

}  // namespace lora::inline v0::cpu
