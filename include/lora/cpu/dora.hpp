// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <lora/activation.hpp>
#include <lora/cpu/dot.hpp>
#include <lora/cpu/gemm.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/cpu/linear_cores.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/dora_bound.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Rows [begin, end) of W: wa[:, o] = A W[o, :]ᵀ and squares[o] = ‖W[o, :]‖². Norms are differences
/// of these numbers, so, unlike LinearCore, it adds up runs of a few vectors first and then the
/// runs: a sum of thousands is rounded like one of some dozens. The order of a sum depends neither
/// on A's other rows nor on the range.
struct RowProductsCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> a, MatrixView<const T> w, MatrixView<T> wa,
                                     VectorView<T> squares, std::int64_t begin, std::int64_t end) {
    std::int64_t o = begin;
    for (; o + 4 <= end; o += 4) rows<Bytes, 4, Bytes == 64 ? 4 : 2>(a, w, wa, squares, o);
    for (; o < end; ++o) rows<Bytes, 1, 1>(a, w, wa, squares, o);
  }

 private:
  static constexpr std::int64_t kRun = 16;  // vectors

  // N rows of W: the squares beside the first row of A, then M more rows at a time. Where M does
  // not divide them, the last M are those that fit, some of them for the second time.
  template <int Bytes, int N, int M, class T>
  static LORA_ALWAYS_INLINE void rows(const MatrixView<const T>& a, const MatrixView<const T>& w,
                                      const MatrixView<T>& wa, const VectorView<T>& squares,
                                      std::int64_t o) {
    if (a.rows == 0) return block<Bytes, N, 0, true>(a, w, wa, squares, o, 0);
    block<Bytes, N, 1, true>(a, w, wa, squares, o, 0);
    std::int64_t row = 1;
    if (a.rows > M) {
      for (; row < a.rows; row += M) {
        block<Bytes, N, M, false>(a, w, wa, squares, o, std::min(row, a.rows - M));
      }
    }
    for (; row < a.rows; ++row) block<Bytes, N, 1, false>(a, w, wa, squares, o, row);
  }

  // N rows of W against M rows of A and, for the squares, against themselves.
  template <int Bytes, int N, int M, bool kSquares, class T>
  static LORA_ALWAYS_INLINE void block(const MatrixView<const T>& a, const MatrixView<const T>& w,
                                       const MatrixView<T>& wa, const VectorView<T>& squares,
                                       std::int64_t o, std::int64_t row) {
    using S = Simd<T, Bytes>;
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    constexpr int kSums = M + (kSquares ? 1 : 0);
    const T* __restrict a0 = a.data + row * a.stride;
    const T* __restrict w0 = w.row(o);

    V total[kSums][N];
    clear(total);
    std::int64_t k = 0;
    while (k + W <= w.cols) {
      V sum[kSums][N];
      clear(sum);
      const std::int64_t run_end = std::min(w.cols, k + kRun * W);
      for (; k + W <= run_end; k += W) add<S, M, false>(a0 + k, a.stride, w0 + k, w.stride, W, sum);
      LORA_UNROLL
      for (int i = 0; i < kSums; ++i) {
        LORA_UNROLL
        for (int n = 0; n < N; ++n) total[i][n] += sum[i][n];
      }
    }
    // The columns behind the last whole vector: the last vector that fits, without what was added.
    const std::int64_t left = w.cols - k;
    if (left > 0 && k > 0) {
      const std::int64_t last = w.cols - W;
      add<S, M, true>(a0 + last, a.stride, w0 + last, w.stride, left, total);
    }
#pragma GCC unroll 1
    for (int i = 0; i < kSums; ++i) {
      T sums[N];
      if constexpr (N == 4) {
        S::sum4(total[i][0], total[i][1], total[i][2], total[i][3], sums);
      } else {
        sums[0] = S::sum(total[i][0]);
      }
      for (int n = 0; n < N; ++n) {
        const T* const from = w0 + n * w.stride;
        const T* const factors = i < M ? a0 + i * a.stride : from;
        for (std::int64_t j = 0; k == 0 && j < left; ++j) sums[n] += factors[j] * from[j];
        (i < M ? wa(row + i, o + n) : squares[o + n]) = sums[n];
      }
    }
  }

  template <class V, int kSums, int N>
  static LORA_ALWAYS_INLINE void clear(V (&sum)[kSums][N]) {
    LORA_UNROLL
    for (int i = 0; i < kSums; ++i) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[i][n] = V{};
    }
  }

  // The products of one vector of each row, or of its last `count` elements.
  template <class S, int M, bool kPart, class T, class V, int kSums, int N>
  static LORA_ALWAYS_INLINE void add(const T* a, std::int64_t a_stride, const T* w,
                                     std::int64_t w_stride, std::int64_t count,
                                     V (&sum)[kSums][N]) {
    V v[N];
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      v[n] = *S::at(w + n * w_stride);
      if constexpr (kPart) S::keep_last(v[n], count);
    }
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      V factor = *S::at(a + m * a_stride);
      if constexpr (kPart) S::keep_last(factor, count);
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] += factor * v[n];
    }
    if constexpr (kSums > M) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[M][n] += v[n] * v[n];
    }
  }
};

/// Rows [begin, end) of W, so few at a time that they are still in a near cache for the second of
/// its two cores. The bits of u are LinearCore's.
struct DoraLinearCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> x, MatrixView<const T> a,
                                     MatrixView<const T> w, MatrixView<T> u, MatrixView<T> wa,
                                     VectorView<T> squares, std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; o += detail::kRowGrain) {
      const std::int64_t o_end = std::min(o + detail::kRowGrain, end);
      LinearCore::run<Bytes>(x, w, VectorView<const T>{nullptr, 0}, LowRankTerm<T>{}, u,
                             Activation::none, o, o_end);
      RowProductsCore::run<Bytes>(a, w, wa, squares, o, o_end);
    }
  }
};

template <class T>
void dora_linear(MatrixView<const T> x, MatrixView<const T> a, MatrixView<const T> w,
                 MatrixView<T> u, MatrixView<T> wa, VectorView<T> squares) {
  if (detail::is_large(x.rows, w.rows, w.cols)) {
    gemm(as_is(x), transposed(w), w.cols, u, false);
    return lora::detail::parallel_for(w.rows, detail::kRowGrain,
                                      [&](std::int64_t begin, std::int64_t end) {
                                        run_simd<RowProductsCore>(a, w, wa, squares, begin, end);
                                      });
  }
  lora::detail::parallel_for(w.rows, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<DoraLinearCore>(x, a, w, u, wa, squares, begin, end);
  });
}

/// The rows [begin, end) of A Aᵀ, as far as its diagonal, and their ‖A_r‖; all in double.
struct GramCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> a, double* gram, double* lengths,
                                     std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      double* const row = gram + r * a.rows;
      for (std::int64_t q = 0; q <= r; ++q) {
        row[q] = dot_in_double<Bytes>(a.row(r), a.row(q), a.cols);
      }
      lengths[r] = std::sqrt(row[r]);
    }
  }
};

/// What ‖W_o + s B_o A‖² is made of, for some rows of W at a time.
template <class T>
struct DoraTerms {
  MatrixView<const T> wa, b;
  double scale;
  const double* gram;     // (R, R), its lower triangle: A Aᵀ
  const double* lengths;  // (R,): ‖A_r‖

  static constexpr int kRows = 32;

  struct Sums {
    double cross[kRows];   // s Σ_r B_or (A Wᵀ)_ro
    double update[kRows];  // ‖s B_o A‖²
    double reach[kRows];   // Σ_r |s B_or| ‖A_r‖
  };
};

/// The terms of the rows [o, o + count), count <= kRows. `turned` has room for R x kRows numbers.
struct DoraTermsCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const DoraTerms<T>& terms, std::int64_t o, std::int64_t count,
                                     double* turned, typename DoraTerms<T>::Sums* sums) {
    using S = Simd<double, Bytes>;
    using V = typename S::Vector;
    constexpr std::int64_t kRows = DoraTerms<T>::kRows;
    const std::int64_t rank = terms.b.cols;
    for (std::int64_t r = 0; r < rank; ++r) {
      for (std::int64_t i = 0; i < kRows; ++i) {
        turned[r * kRows + i] = i < count ? terms.scale * double{terms.b(o + i, r)} : 0;
      }
    }
    *sums = {};
    for (std::int64_t r = 0; r < rank; ++r) {
      const double* const factors = turned + r * kRows;
      const double* const gram = terms.gram + r * rank;
      for (std::int64_t i = 0; i < kRows; i += S::kWidth) {
        const V factor = *S::at(factors + i);
        V others = V{};
        for (std::int64_t q = 0; q < r; ++q) others += gram[q] * *S::at(turned + q * kRows + i);
        *S::at(sums->update + i) += factor * (2 * others + gram[r] * factor);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        sums->cross[i] += factors[i] * double{terms.wa(r, o + i)};
        sums->reach[i] += std::fabs(factors[i]) * terms.lengths[r];
      }
    }
  }
};

namespace detail {

/// ‖w + b A‖² from its elements, in double; b: (R,)
template <class T>
double dora_norm_directly(const T* w, MatrixView<const T> a, const T* b, double scale) {
  constexpr std::int64_t kColumns = 64;
  double sum = 0;
  for (std::int64_t k = 0; k < a.cols; k += kColumns) {
    const std::int64_t count = std::min(kColumns, a.cols - k);
    double v[kColumns];
    for (std::int64_t j = 0; j < count; ++j) v[j] = w[k + j];
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const double factor = scale * double{b[r]};
      for (std::int64_t j = 0; j < count; ++j) v[j] += factor * double{a(r, k + j)};
    }
    for (std::int64_t j = 0; j < count; ++j) sum += v[j] * v[j];
  }
  return sum;
}

}  // namespace detail

template <class T>
void dora_gains(MatrixView<const T> wa, VectorView<const T> squares, MatrixView<const T> a,
                MatrixView<const T> b, MatrixView<const T> w, VectorView<const T> magnitude,
                VectorView<T> norms, VectorView<T> gains, double scale) {
  using Terms = DoraTerms<T>;
  thread_local std::vector<double> memory;
  memory.resize(static_cast<std::size_t>((a.rows + 1) * a.rows));
  double* const gram = memory.data();
  double* const lengths = gram + a.rows * a.rows;
  lora::detail::parallel_for(a.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    run_simd<GramCore>(a, gram, lengths, begin, end);
  });
  const Terms terms{wa, b, double{static_cast<T>(scale)}, gram, lengths};
  lora::detail::parallel_for(w.rows, Terms::kRows, [&](std::int64_t begin, std::int64_t end) {
    thread_local std::vector<double> turned;
    turned.resize(static_cast<std::size_t>(b.cols * Terms::kRows));
    typename Terms::Sums sums;
    for (std::int64_t o = begin; o < end; o += Terms::kRows) {
      const std::int64_t count = std::min<std::int64_t>(Terms::kRows, end - o);
      run_simd<DoraTermsCore>(terms, o, count, turned.data(), &sums);
      for (std::int64_t i = 0; i < count; ++i) {
        const double square = squares[o + i];
        double norm = square + 2 * sums.cross[i] + sums.update[i];
        if (!lora::detail::is_accurate_norm(norm, square, sums.reach[i])) {
          norm = detail::dora_norm_directly(w.row(o + i), a, b.row(o + i), terms.scale);
        }
        norms[o + i] = static_cast<T>(std::sqrt(norm));
        gains[o + i] = norms[o + i] == 0 ? T{0} : magnitude[o + i] / norms[o + i];
      }
    }
  });
}

template <class T>
void dora_backward_magnitude(VectorView<const T> dgain, VectorView<const T> norms, VectorView<T> dm,
                             bool accumulate) {
  for (std::int64_t o = 0; o < dm.size; ++o) {
    const T gradient = norms[o] == 0 ? T{0} : dgain[o] / norms[o];
    dm[o] = accumulate ? dm[o] + gradient : gradient;
  }
}

template <class T>
void dora_scale_rows(VectorView<const T> gains, MatrixView<T> w) {
  lora::detail::parallel_for(w.rows, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      for (std::int64_t k = 0; k < w.cols; ++k) w(o, k) *= gains[o];
    }
  });
}

}  // namespace lora::inline v0::cpu
