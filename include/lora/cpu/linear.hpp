// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// The matrix products of a linear layer for batches of few rows, where the weight is by far the
// largest operand: every core below reads it once, row by row, for as many rows of the batch as fit
// in registers: 20 sums of AVX-512's 32 registers, 10 of the 16 that the others have. Sums run in
// one fixed order, whatever the number of threads.

namespace lora::inline v0::cpu {

/// The low-rank term of a LoRA layer's forward: y += h Bᵀ with h = scale x Aᵀ. `b.data` is null
/// where there is none.
template <class T>
struct LowRankTerm {
  MatrixView<const T> h;  // (B, R)
  MatrixView<const T> b;  // (O, R)
};

/// Rows [begin, end) of W: y[:, o] = x W[o, :]ᵀ + bias[o] + h b[o, :]ᵀ.
struct LinearCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> x, MatrixView<const T> w,
                                     VectorView<const T> bias, LowRankTerm<T> low_rank,
                                     MatrixView<T> y, std::int64_t begin, std::int64_t end) {
    std::int64_t o = begin;
    for (; o + 2 <= end; o += 2) {
      std::int64_t row = 0;
      if constexpr (Bytes == 64) {
        for (; row + 10 <= x.rows; row += 10) block<Bytes, 2, 10>(x, w, bias, low_rank, y, o, row);
      }
      for (; row + 5 <= x.rows; row += 5) block<Bytes, 2, 5>(x, w, bias, low_rank, y, o, row);
      for (; row < x.rows; ++row) block<Bytes, 2, 1>(x, w, bias, low_rank, y, o, row);
    }
    // At most one row of W is left over: not worth code of its own for several rows of x.
    for (; o < end; ++o) {
      for (std::int64_t row = 0; row < x.rows; ++row) {
        block<Bytes, 1, 1>(x, w, bias, low_rank, y, o, row);
      }
    }
  }

 private:
  // M rows of x against N rows of W.
  template <int Bytes, int N, int M, class T>
  static LORA_ALWAYS_INLINE void block(const MatrixView<const T>& x, const MatrixView<const T>& w,
                                       const VectorView<const T>& bias,
                                       const LowRankTerm<T>& low_rank, const MatrixView<T>& y,
                                       std::int64_t o, std::int64_t row) {
    using S = Simd<T, Bytes>;
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    const T* __restrict x0 = x.row(row);
    const T* __restrict w0 = w.row(o);
    const T* __restrict w1 = w.row(o + N - 1);
    const std::int64_t stride = x.stride;
    const std::int64_t whole = w.cols / W * W;

    V sum0[M], sum1[M];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) sum0[m] = sum1[m] = V{};
    for (std::int64_t k = 0; k < whole; k += W) {
      const V a = S::at(w0 + k);
      const V b = S::at(w1 + k);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const V v = S::at(x0 + m * stride + k);
        sum0[m] += v * a;
        if constexpr (N == 2) sum1[m] += v * b;
      }
    }
    T sums[N][M];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      sums[0][m] = S::sum(sum0[m]);
      if constexpr (N == 2) sums[1][m] = S::sum(sum1[m]);
    }
    for (int n = 0; n < N; ++n) {
      finish(sums[n], M, x, w.row(o + n), whole, bias, low_rank, y, row, o + n);
    }
  }

  // The rest of each sum behind the whole vectors, and what is added to it. Not inlined: once a
  // block is seldom enough, and the code is the same for every block size and instruction set.
  template <class T>
  static LORA_NEVER_INLINE void finish(const T* sums, int count, const MatrixView<const T>& x,
                                       const T* w, std::int64_t whole,
                                       const VectorView<const T>& bias,
                                       const LowRankTerm<T>& low_rank, const MatrixView<T>& y,
                                       std::int64_t row, std::int64_t o) {
    for (int m = 0; m < count; ++m) {
      T sum = sums[m];
      const T* x_row = x.row(row + m);
      for (std::int64_t k = whole; k < x.cols; ++k) sum += x_row[k] * w[k];
      if (bias.data) sum += bias[o];
      if (low_rank.b.data) {
        for (std::int64_t r = 0; r < low_rank.b.cols; ++r) {
          sum += low_rank.h(row + m, r) * low_rank.b(o, r);
        }
      }
      y(row + m, o) = sum;
    }
  }
};

/// Columns [begin, end) of W: dx = dy W, or dx += dy W. W is visited in groups of rows, so that the
/// group's part of dx stays in registers while the rows stream past.
struct LinearBackwardInputCore {
  static constexpr std::int64_t kGroup = 16;
  static constexpr std::int64_t kStrip = 32;

  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> w,
                                     MatrixView<T> dx, bool accumulate, std::int64_t begin,
                                     std::int64_t end) {
    if (!accumulate) {
      for (std::int64_t row = 0; row < dx.rows; ++row) {
        std::fill(dx.row(row) + begin, dx.row(row) + end, T{});
      }
    }
    for (std::int64_t o = 0; o < w.rows; o += kGroup) {
      const std::int64_t o_end = std::min(o + kGroup, w.rows);
      std::int64_t row = 0;
      if constexpr (Bytes == 64) {
        for (; row + 10 <= dx.rows; row += 10) {
          rows<Bytes, 10>(dy, w, dx, row, o, o_end, begin, end);
        }
      }
      for (; row + 5 <= dx.rows; row += 5) rows<Bytes, 5>(dy, w, dx, row, o, o_end, begin, end);
      for (; row < dx.rows; ++row) rows<Bytes, 1>(dy, w, dx, row, o, o_end, begin, end);
    }
  }

 private:
  template <int Bytes, int M, class T>
  static LORA_ALWAYS_INLINE void rows(const MatrixView<const T>& dy, const MatrixView<const T>& w,
                                      const MatrixView<T>& dx, std::int64_t row,
                                      std::int64_t o_begin, std::int64_t o_end, std::int64_t begin,
                                      std::int64_t end) {
    using S = Simd<T, Bytes>;
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    const T* __restrict dy0 = dy.row(row);
    T* __restrict dx0 = dx.row(row);
    const std::int64_t dy_stride = dy.stride;
    const std::int64_t dx_stride = dx.stride;
    std::int64_t k = begin;
    for (; k + 2 * W <= end; k += 2 * W) {
      V sum0[M], sum1[M];
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        sum0[m] = S::at(dx0 + m * dx_stride + k);
        sum1[m] = S::at(dx0 + m * dx_stride + k + W);
      }
      for (std::int64_t o = o_begin; o < o_end; ++o) {
        const V a = S::at(w.row(o) + k);
        const V b = S::at(w.row(o) + k + W);
        LORA_UNROLL
        for (int m = 0; m < M; ++m) {
          const T factor = dy0[m * dy_stride + o];
          sum0[m] += factor * a;
          sum1[m] += factor * b;
        }
      }
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        S::at(dx0 + m * dx_stride + k) = sum0[m];
        S::at(dx0 + m * dx_stride + k + W) = sum1[m];
      }
    }
    for (; k < end; ++k) {
      for (std::int64_t o = o_begin; o < o_end; ++o) {
        const T weight = w(o, k);
        for (int m = 0; m < M; ++m) dx0[m * dx_stride + k] += dy0[m * dy_stride + o] * weight;
      }
    }
  }
};

/// Rows [begin, end) of the weight's gradient dyᵀ x, formed in registers a strip at a time and
/// handed to `sink`, which stores it or applies an optimizer's update:
///     sink.vector<S>(gradient vector, row, column) and sink.scalar(gradient, row, column).
struct OuterProductCore {
  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> x, Sink sink,
                                     std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      std::int64_t k = 0;
      strips<Simd<T, Bytes>, 4>(dy, x, sink, o, k);
      strips<Simd<T, Bytes>, 1>(dy, x, sink, o, k);
      for (; k < x.cols; ++k) {
        T sum = 0;
        for (std::int64_t row = 0; row < x.rows; ++row) sum += dy(row, o) * x(row, k);
        sink.scalar(sum, o, k);
      }
    }
  }

 private:
  template <class S, int N, class T, class Sink>
  static LORA_ALWAYS_INLINE void strips(const MatrixView<const T>& dy, const MatrixView<const T>& x,
                                        const Sink& sink, std::int64_t o, std::int64_t& k) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    for (; k + N * W <= x.cols; k += N * W) {
      V sum[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sum[n] = V{};
      const T* __restrict x_row = x.data + k;
      const T* __restrict dy_row = dy.data + o;
      for (std::int64_t row = 0; row < x.rows; ++row, x_row += x.stride, dy_row += dy.stride) {
        const T factor = *dy_row;
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[n] += factor * S::at(x_row + n * W);
      }
      LORA_UNROLL
      for (int n = 0; n < N; ++n) sink.template vector<S>(sum[n], o, k + n * W);
    }
  }
};

/// Stores the gradient densely, over or on top of what is there.
template <class T>
struct StoreGradient {
  MatrixView<T> dw;
  bool accumulate;

  template <class S>
  LORA_ALWAYS_INLINE void vector(const typename S::Vector& g, std::int64_t o,
                                 std::int64_t k) const {
    T* to = dw.row(o) + k;
    if (accumulate) {
      S::at(to) = S::at(to) + g;
    } else {
      S::at(to) = g;
    }
  }
  LORA_ALWAYS_INLINE void scalar(T g, std::int64_t o, std::int64_t k) const {
    dw(o, k) = accumulate ? dw(o, k) + g : g;
  }
};

namespace detail {

// Rows of W a thread takes at a time: even, so that the pairs of LinearCore are always the same.
constexpr std::int64_t kRowGrain = 8;

}  // namespace detail

template <class T>
void linear_with(MatrixView<const T> x, MatrixView<const T> w, VectorView<const T> bias,
                 LowRankTerm<T> low_rank, MatrixView<T> y) {
  lora::detail::parallel_for(w.rows, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<LinearCore>(x, w, bias, low_rank, y, begin, end);
  });
}

template <class T>
void linear(MatrixView<const T> x, MatrixView<const T> w, VectorView<const T> bias,
            MatrixView<T> y) {
  linear_with(x, w, bias, LowRankTerm<T>{}, y);
}

template <class T>
void accumulate_product(MatrixView<const T> dy, MatrixView<const T> w, MatrixView<T> dx,
                        bool accumulate) {
  lora::detail::parallel_for(w.cols, LinearBackwardInputCore::kStrip,
                             [&](std::int64_t begin, std::int64_t end) {
                               run_simd<LinearBackwardInputCore>(dy, w, dx, accumulate, begin, end);
                             });
}

template <class T>
void linear_backward_input(MatrixView<const T> dy, MatrixView<const T> w, MatrixView<T> dx) {
  accumulate_product(dy, w, dx, false);
}

/// Hands every element of dyᵀ x to `sink`; see OuterProductCore.
template <class T, class Sink>
void for_each_weight_gradient(MatrixView<const T> dy, MatrixView<const T> x, const Sink& sink) {
  lora::detail::parallel_for(dy.cols, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<OuterProductCore>(dy, x, sink, begin, end);
  });
}

template <class T>
void linear_backward_weight(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> dw,
                            bool accumulate) {
  for_each_weight_gradient(dy, x, StoreGradient<T>{dw, accumulate});
}

template <class T>
void linear_backward_bias(MatrixView<const T> dy, VectorView<T> db, bool accumulate) {
  if (!accumulate) std::fill_n(db.data, db.size, T{});
  for (std::int64_t row = 0; row < dy.rows; ++row) {
    for (std::int64_t o = 0; o < dy.cols; ++o) db[o] += dy(row, o);
  }
}

}  // namespace lora::inline v0::cpu
