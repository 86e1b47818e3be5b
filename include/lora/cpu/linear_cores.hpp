// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/activation.hpp>
#include <lora/cpu/relu.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/view.hpp>

// The matrix products of a linear layer for batches of few rows, where the weight is by far the
// largest operand: every core below reads it once, row by row, for as many rows of the batch as fit
// in registers: 20 sums of AVX-512's 32 registers, 10 of the 16 that the others have. Sums run in
// one fixed order, whatever the number of threads.

namespace lora::inline v0::cpu {

/// The low-rank term of a LoRA layer's forward: y += h Bᵀ with h = scale x Aᵀ. `b` has no columns
/// where there is none.
template <class T>
struct LowRankTerm {
  MatrixView<const T> h;  // (B, R)
  MatrixView<const T> b;  // (O, R)
};

/// Rows [begin, end) of W: y[:, o] = x W[o, :]ᵀ + bias[o] + h b[o, :]ᵀ, and what the activation
/// makes of it.
struct LinearCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> x, MatrixView<const T> w,
                                     VectorView<const T> bias, LowRankTerm<T> low_rank,
                                     MatrixView<T> y, Activation activation, std::int64_t begin,
                                     std::int64_t end) {
    const Side<T> rows{x, low_rank.h, 0, y.stride};
    const Side<T> outputs{w, low_rank.b, 1, 1};
    // Of few outputs, as the A of a low rank has, yᵀ = W xᵀ is made: as many of its sums are under
    // way at a time as of many outputs.
    const bool few = end - begin < 4 && x.rows >= 4;
    blocks<Bytes>(few ? outputs : rows, few ? begin : 0, few ? end : x.rows, few ? rows : outputs,
                  few ? 0 : begin, few ? x.rows : end, bias.data, low_rank.b.cols, y.data,
                  activation);
  }

 private:
  /// One factor of the products, x or W: what its i-th row takes part in.
  template <class T>
  struct Side {
    MatrixView<const T> factor;
    MatrixView<const T> low_rank;
    std::int64_t bias_step, y_step;  // from row to row
  };

  // The rows [p_begin, p_end) of p against the rows [q_begin, q_end) of q.
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void blocks(Side<T> p, std::int64_t p_begin, std::int64_t p_end,
                                        Side<T> q, std::int64_t q_begin, std::int64_t q_end,
                                        const T* bias, std::int64_t rank, T* y,
                                        Activation activation) {
    // Four rows of q at a time: the last four overlap what came before, and where there are fewer,
    // each is taken four times. That costs less than code of its own would.
    constexpr int M = Bytes == 64 ? 5 : 2;
    const std::int64_t step = q_end - q_begin < 4 ? 0 : 1;
    for (std::int64_t next = q_begin; next < q_end; next += step ? 4 : 1) {
      const std::int64_t o = step ? std::min(next, q_end - 4) : next;
      for (std::int64_t row = p_begin; row < p_end;) {
        // By way of memory, so that what follows the products is compiled once.
        typename Simd<T, Bytes>::Vector sums[M][4];
        const bool whole = row + M <= p_end;
        if (whole) {
          products<Bytes, M>(p.factor, q.factor, o, step, row, sums);
        } else {
          products<Bytes, 1>(p.factor, q.factor, o, step, row, sums);
        }
        finish<Bytes>(p, q, bias, rank, y, activation, o, step, row, whole ? M : 1, sums);
        row += whole ? M : 1;
      }
    }
  }

  // M rows of x against the rows o + n step of w: 4 + M vectors are loaded for 4 M products.
  template <int Bytes, int M, class T, class V>
  static LORA_ALWAYS_INLINE void products(const MatrixView<const T>& x,
                                          const MatrixView<const T>& w, std::int64_t o,
                                          std::int64_t step, std::int64_t row, V (*sums)[4]) {
    using S = Simd<T, Bytes>;
    constexpr int N = 4;
    constexpr int W = S::kWidth;
    const T* __restrict x0 = x.row(row);
    const T* __restrict w0 = w.row(o);
    const std::int64_t x_stride = x.stride;
    const std::int64_t w_stride = step * w.stride;

    V sum[N][M];
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      LORA_UNROLL
      for (int m = 0; m < M; ++m) sum[n][m] = V{};
    }
    std::int64_t k = 0;
    for (; k + W <= w.cols; k += W) {
      V a[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) a[n] = *S::at(w0 + n * w_stride + k);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const V v = *S::at(x0 + m * x_stride + k);
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[n][m] += v * a[n];
      }
    }
    // The columns behind the last whole vector: the last vector that fits, without what was added.
    const std::int64_t left = w.cols - k;
    if (left > 0 && k > 0) {
      const std::int64_t last = w.cols - W;
      V a[N];
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        a[n] = *S::at(w0 + n * w_stride + last);
        S::keep_last(a[n], left);
      }
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        V v = *S::at(x0 + m * x_stride + last);
        S::keep_last(v, left);
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[n][m] += v * a[n];
      }
    }
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      LORA_UNROLL
      for (int m = 0; m < M; ++m) sums[m][n] = sum[n][m];
    }
  }

  template <int Bytes, class T, class V>
  static LORA_ALWAYS_INLINE void finish(const Side<T>& p, const Side<T>& q, const T* bias,
                                        std::int64_t rank, T* y, Activation activation,
                                        std::int64_t o, std::int64_t step, std::int64_t row,
                                        int rows, const V (*partial)[4]) {
    using S = Simd<T, Bytes>;
    constexpr int N = 4;
    const MatrixView<const T>& w = q.factor;
#pragma GCC unroll 1
    for (int m = 0; m < rows; ++m, ++row) {
      T sums[N];
      S::sum4(partial[m][0], partial[m][1], partial[m][2], partial[m][3], sums);
      if (w.cols < S::kWidth) {
        for (int n = 0; n < N; ++n) {
          for (std::int64_t i = 0; i < w.cols; ++i) sums[n] += p.factor(row, i) * w(o + n * step, i);
        }
      }
      if (bias) {
        const T* const from = bias + row * p.bias_step + o * q.bias_step;
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sums[n] += from[n * step * q.bias_step];
      }
      for (std::int64_t r = 0; r < rank; ++r) {
        const T h = p.low_rank(row, r);
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sums[n] += h * q.low_rank(o + n * step, r);
      }
      if (activation == Activation::relu) {
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sums[n] = relu_of(sums[n]);
      }
      T* const to = y + row * p.y_step + o * q.y_step;
      LORA_UNROLL
      for (int n = 0; n < N; ++n) to[n * step * q.y_step] = sums[n];
    }
  }
};

/// dx += dy W, for some rows and columns of W. W is visited in groups of rows, so that the group's
/// part of dx stays in registers while the rows stream past.
struct LinearBackwardInputCore {
  static constexpr std::int64_t kGroup = 16;

  /// The rows [begin, end) of W.
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> w,
                                     MatrixView<T> dx, std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; o += kGroup) {
      add<Bytes>(dy, w, dx, o, std::min(o + kGroup, end), 0, w.cols);
    }
  }

  /// The rows [o, o_end) and the columns [begin, end) of W.
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void add(const MatrixView<const T>& dy, const MatrixView<const T>& w,
                                     const MatrixView<T>& dx, std::int64_t o, std::int64_t o_end,
                                     std::int64_t begin, std::int64_t end) {
    using S = Simd<T, Bytes>;
    std::int64_t k = begin;
    for (; k + 2 * S::kWidth <= end; k += 2 * S::kWidth) {
      std::int64_t row = 0;
      if constexpr (Bytes == 64) {
        for (; row + 10 <= dx.rows; row += 10) block<S, 10, 2>(dy, w, dx, row, o, o_end, k);
      }
      for (; row + 5 <= dx.rows; row += 5) block<S, 5, 2>(dy, w, dx, row, o, o_end, k);
      for (; row < dx.rows; ++row) block<S, 1, 2>(dy, w, dx, row, o, o_end, k);
    }
    // What is left is less than two vectors wide: vectors of falling width, a row at a time.
    strips<S>(dy, w, dx, o, o_end, k, end);
    if constexpr (Bytes >= 64) strips<Simd<T, 32>>(dy, w, dx, o, o_end, k, end);
    if constexpr (Bytes >= 32) strips<Simd<T, 16, true>>(dy, w, dx, o, o_end, k, end);
    for (; k < end; ++k) {
      for (std::int64_t i = o; i < o_end; ++i) {
        for (std::int64_t row = 0; row < dx.rows; ++row) {
          S::fma(dy(row, i), w(i, k), dx(row, k));
        }
      }
    }
  }

 private:
  template <class S, class T>
  static LORA_ALWAYS_INLINE void strips(const MatrixView<const T>& dy, const MatrixView<const T>& w,
                                        const MatrixView<T>& dx, std::int64_t o, std::int64_t o_end,
                                        std::int64_t& k, std::int64_t end) {
    for (; k + S::kWidth <= end; k += S::kWidth) {
      for (std::int64_t row = 0; row < dx.rows; ++row) block<S, 1, 1>(dy, w, dx, row, o, o_end, k);
    }
  }

  // M rows of dx, N (one or two) vectors wide.
  template <class S, int M, int N, class T>
  static LORA_ALWAYS_INLINE void block(const MatrixView<const T>& dy, const MatrixView<const T>& w,
                                       const MatrixView<T>& dx, std::int64_t row, std::int64_t o,
                                       std::int64_t o_end, std::int64_t k) {
    using V = typename S::Vector;
    constexpr int kSecond = (N - 1) * S::kWidth;
    const T* __restrict dy0 = dy.row(row);
    T* __restrict dx0 = dx.row(row) + k;
    const std::int64_t dy_stride = dy.stride;
    const std::int64_t dx_stride = dx.stride;
    V sum0[M], sum1[M];
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      sum0[m] = *S::at(dx0 + m * dx_stride);
      if constexpr (N == 2) sum1[m] = *S::at(dx0 + m * dx_stride + kSecond);
    }
    for (; o < o_end; ++o) {
      const V a = *S::at(w.row(o) + k);
      const V b = *S::at(w.row(o) + k + kSecond);
      LORA_UNROLL
      for (int m = 0; m < M; ++m) {
        const T factor = dy0[m * dy_stride + o];
        sum0[m] += factor * a;
        if constexpr (N == 2) sum1[m] += factor * b;
      }
    }
    LORA_UNROLL
    for (int m = 0; m < M; ++m) {
      *S::at(dx0 + m * dx_stride) = sum0[m];
      if constexpr (N == 2) *S::at(dx0 + m * dx_stride + kSecond) = sum1[m];
    }
  }
};

/// Rows [begin, end) of the weight's gradient dyᵀ x, formed in registers a strip at a time and
/// handed to `sink`, which stores it or applies an optimizer's update:
///     sink.vector<S>(gradient vector, row, column) and sink.scalar<S>(gradient, row, column).
struct OuterProductCore {
  // Rows are gone through in whole, as far as x stays in the second cache: what is long in memory
  // is fetched ahead best. Few rows, so that their tile of W is still cached from one pass to the
  // next.
  static constexpr std::int64_t kTileRows = 16;
  static constexpr std::int64_t kTileCols = 2048;

  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> x, Sink sink,
                                     std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; o += kTileRows) {
      for (std::int64_t k = 0; k < x.cols; k += kTileCols) {
        tile<Bytes>(dy, x, sink, o, std::min(o + kTileRows, end), k,
                    std::min(k + kTileCols, x.cols));
      }
    }
  }

  /// Rows [o, o_end), columns [begin, end).
  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void tile(const MatrixView<const T>& dy, const MatrixView<const T>& x,
                                      const Sink& sink, std::int64_t o, std::int64_t o_end,
                                      std::int64_t begin, std::int64_t end) {
    constexpr int kRows = 4;
    std::int64_t k = begin;
    for (; o + kRows <= o_end; o += kRows) {
      k = begin;
      strips<Simd<T, Bytes>, kRows, 2>(dy, x, sink, o, k, end);
      for (int r = 0; r < kRows; ++r) rest_of_row<Bytes>(dy, x, sink, o + r, k, end);
    }
    for (; o < o_end; ++o) rest_of_row<Bytes>(dy, x, sink, o, begin, end);
  }

 private:
  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void rest_of_row(const MatrixView<const T>& dy,
                                             const MatrixView<const T>& x, const Sink& sink,
                                             std::int64_t o, std::int64_t k, std::int64_t end) {
    using S = Simd<T, Bytes>;
    strips<S, 1, 1>(dy, x, sink, o, k, end);
    if constexpr (Bytes >= 64) strips<Simd<T, 32>, 1, 1>(dy, x, sink, o, k, end);
    if constexpr (Bytes >= 32) strips<Simd<T, 16, true>, 1, 1>(dy, x, sink, o, k, end);
    for (; k < end; ++k) {
      T sum = 0;
      for (std::int64_t row = 0; row < x.rows; ++row) S::fma(dy(row, o), x(row, k), sum);
      sink.template scalar<S>(sum, o, k);
    }
  }

  // R rows and N vectors at a time: R + N loads for R N products.
  template <class S, int R, int N, class T, class Sink>
  static LORA_ALWAYS_INLINE void strips(const MatrixView<const T>& dy, const MatrixView<const T>& x,
                                        const Sink& sink, std::int64_t o, std::int64_t& k,
                                        std::int64_t end) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    for (; k + N * W <= end; k += N * W) {
      V sum[R][N];
      LORA_UNROLL
      for (int r = 0; r < R; ++r) {
        LORA_UNROLL
        for (int n = 0; n < N; ++n) sum[r][n] = V{};
      }
      const T* __restrict x_row = x.data + k;
      const T* __restrict dy_row = dy.data + o;
      for (std::int64_t row = 0; row < x.rows; ++row, x_row += x.stride, dy_row += dy.stride) {
        V v[N];
        LORA_UNROLL
        for (int n = 0; n < N; ++n) v[n] = *S::at(x_row + n * W);
        LORA_UNROLL
        for (int r = 0; r < R; ++r) {
          const T factor = dy_row[r];
          LORA_UNROLL
          for (int n = 0; n < N; ++n) sum[r][n] += factor * v[n];
        }
      }
      // By way of memory, so that the sink's code is there once.
      V gradients[R * N];
      LORA_UNROLL
      for (int r = 0; r < R; ++r) {
        LORA_UNROLL
        for (int n = 0; n < N; ++n) gradients[r * N + n] = sum[r][n];
      }
#pragma GCC unroll 1
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 1
        for (int n = 0; n < N; ++n) {
          sink.template vector<S>(gradients[r * N + n], o + r, k + n * W);
        }
      }
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
      *S::at(to) = *S::at(to) + g;
    } else {
      *S::at(to) = g;
    }
  }
  template <class S>
  LORA_ALWAYS_INLINE void scalar(T g, std::int64_t o, std::int64_t k) const {
    dw(o, k) = accumulate ? dw(o, k) + g : g;
  }
};

}  // namespace lora::inline v0::cpu
