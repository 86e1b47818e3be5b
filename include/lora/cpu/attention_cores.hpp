// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <lora/cpu/copy_rows.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/cpu/simd_math.hpp>
#include <lora/cpu/tile_product.hpp>
#include <lora/cpu/transpose.hpp>
#include <lora/view.hpp>

// Causal attention of one head of one sequence, after Dao, "FlashAttention-2", 2023 (arXiv
// 2307.08691): a tile of scores is made, used and forgotten within the first cache.
//
// The lanes of a vector are neighbours in time: queries in the forward pass, so that maxima and
// sums over the keys stay within a lane, and keys in the backward pass, where only dq then sums
// over lanes. So heads of any size are worked on without padding. The order of each sum depends on
// the element's place alone, not on how a sequence is cut into ranges.
//
// Both passes scale the queries before they make the scores, so that these have the same bits: none
// is larger than its log_sum_exp, however large they are.

namespace lora::inline v0::cpu {

/// Keys, or in the backward pass queries, of a tile.
inline constexpr std::int64_t kAttentionTerms = 64;

/// The lanes of a tile, two vectors, of the widest instruction set.
template <class T>
inline constexpr std::int64_t kMostAttentionLanes = 128 / sizeof(T);

/// Makes the scores of what lies in the future -infinity: the lanes below `lane`, which are queries
/// before a key, or those above it, which are keys behind a query.
template <class S, bool kBelow>
LORA_ALWAYS_INLINE void hide(typename S::Vector& scores, std::int64_t lane) {
  using V = typename S::Vector;
  using T = std::remove_cvref_t<decltype(scores[0])>;
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Integer Bits __attribute__((vector_size(sizeof(V)), may_alias));
  Bits lanes{};
  LORA_UNROLL
  for (int i = 0; i < S::kWidth; ++i) lanes[i] = i;
  const Bits bound = Bits{} + static_cast<Integer>(lane);
  const Bits hidden = kBelow ? lanes < bound : lanes > bound;
  const V nothing = V{} - std::numeric_limits<T>::infinity();
  scores = reinterpret_cast<V>((reinterpret_cast<Bits>(nothing) & hidden) |
                               (reinterpret_cast<Bits>(scores) & ~hidden));
}

/// x *= factor
template <class S, class T>
LORA_ALWAYS_INLINE void scale_by(T* x, std::int64_t size, T factor) {
  std::int64_t i = 0;
  for (; i + S::kWidth <= size; i += S::kWidth) *S::at(x + i) = *S::at(x + i) * factor;
  for (; i < size; ++i) x[i] *= factor;
}

/// One head of one sequence, (T, d) each.
template <class T>
struct AttentionHead {
  MatrixView<const T> q, k, v;
  T scale;  // of the scores: 1/√d
};

/// The queries [begin, end): y and, for each, the logarithm of the sum of its exponentials. The
/// largest score so far and the sum relative to it are kept online, after Milakov and Gimelshein,
/// 2018 (arXiv 1805.02867).
struct CausalAttentionCore {
  template <class T>
  static constexpr std::int64_t scratch_size(std::int64_t d, std::int64_t keys) {
    return (2 * d + kAttentionTerms + 2) * kMostAttentionLanes<T> + 2 * keys * d;
  }

  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(AttentionHead<T> head, MatrixView<T> y, T* log_sum_exp,
                                     std::int64_t begin, std::int64_t end, T* scratch) {
    using S = Simd<T, Bytes>;
    constexpr int W = S::kWidth;
    constexpr std::int64_t kLanes = 2 * W;
    const std::int64_t d = head.q.cols;
    Block<T> block;
    block.queries = scratch;
    block.sums = block.queries + d * kLanes;
    block.scores = block.sums + d * kLanes;
    block.largest = block.scores + kAttentionTerms * kLanes;
    block.total = block.largest + kLanes;
    T* const packed = block.total + kLanes;
    head.k = packed_rows<Bytes>(head.k, 0, end, packed);
    head.v = packed_rows<Bytes>(head.v, 0, end, packed + end * d);
    for (std::int64_t i = begin; i < end; i += kLanes) {
      const std::int64_t count = std::min(kLanes, end - i);
      transpose<Bytes>(rows_of(head.q, i, count), block.queries, kLanes);
      scale_by<S>(block.queries, d * kLanes, head.scale);
      std::fill_n(block.largest, kLanes, -std::numeric_limits<T>::infinity());
      std::fill_n(block.total, kLanes, T{});
      // The keys behind the first vector's queries are for the second alone.
      if (count > W) {
        keys<Bytes, 2>(head, block, i, 0, i + W);
        keys<Bytes, 1>(head, block.second(W), i + W, i + W, i + count);
        finish<S, 2>(block, d);
      } else {
        keys<Bytes, 1>(head, block, i, 0, i + count);
        finish<S, 1>(block, d);
      }
      transpose<Bytes>({block.sums, d, count, kLanes}, y.row(i), y.stride);
      std::copy_n(block.largest, count, log_sum_exp + i);
    }
  }

 private:
  /// Two vectors of queries: rows of 2 W lanes.
  template <class T>
  struct Block {
    T* queries;  // qᵀ, scaled
    T* sums;     // yᵀ before the division
    T* scores;   // kᵀ q, then the exponentials
    T* largest;  // the largest score so far
    T* total;    // the sum of exponentials

    Block second(int width) const {
      return {queries + width, sums + width, scores + width, largest + width, total + width};
    }
  };

  // The keys [begin, end) against N vectors of queries from `query` on.
  template <int Bytes, int N, class T>
  static LORA_ALWAYS_INLINE void keys(const AttentionHead<T>& head, const Block<T>& block,
                                      std::int64_t query, std::int64_t begin, std::int64_t end) {
    using S = Simd<T, Bytes>;
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    constexpr std::int64_t kLanes = 2 * W;
    const std::int64_t d = head.q.cols;
    for (std::int64_t j = begin; j < end; j += kAttentionTerms) {
      const std::int64_t count = std::min(kAttentionTerms, end - j);
      tile_product<N, Bytes>(as_is(rows_of(head.k, j, count)), count, d, block.queries, kLanes,
                             block.scores, kLanes, false);
      for (std::int64_t r = std::max(query + 1 - j, std::int64_t{0}); r < count; ++r) {
        V scores = *S::at(block.scores + r * kLanes);
        hide<S, true>(scores, j + r - query);
        *S::at(block.scores + r * kLanes) = scores;
      }
      exponentials<S, N>(block, count, d, j > 0);
      tile_product<N, Bytes>(transposed(rows_of(head.v, j, count)), d, count, block.scores, kLanes,
                             block.sums, kLanes, j > 0);
    }
  }

  // Scores become exponentials relative to the largest; what was summed before is made so too.
  template <class S, int N, class T>
  static LORA_ALWAYS_INLINE void exponentials(const Block<T>& block, std::int64_t count,
                                              std::int64_t d, bool follows) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    constexpr std::int64_t kLanes = 2 * W;
    V largest[N], sum[N];
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      largest[n] = *S::at(block.scores + n * W);
      sum[n] = *S::at(block.total + n * W);
    }
    for (std::int64_t r = 1; r < count; ++r) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        const V scores = *S::at(block.scores + r * kLanes + n * W);
        largest[n] = scores > largest[n] ? scores : largest[n];
      }
    }
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      const V before = *S::at(block.largest + n * W);
      largest[n] = largest[n] > before ? largest[n] : before;
      *S::at(block.largest + n * W) = largest[n];
      if (!follows) continue;
      V factor = before - largest[n];
      exp<S>(factor);
      sum[n] *= factor;
      for (std::int64_t k = 0; k < d; ++k) {
        T* const to = block.sums + k * kLanes + n * W;
        *S::at(to) = *S::at(to) * factor;
      }
    }
    for (std::int64_t r = 0; r < count; ++r) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        T* const place = block.scores + r * kLanes + n * W;
        V x = *S::at(place) - largest[n];
        exp<S>(x);
        *S::at(place) = x;
        sum[n] += x;
      }
    }
    LORA_UNROLL
    for (int n = 0; n < N; ++n) *S::at(block.total + n * W) = sum[n];
  }

  template <class S, int N, class T>
  static LORA_ALWAYS_INLINE void finish(const Block<T>& block, std::int64_t d) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    constexpr std::int64_t kLanes = 2 * W;
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      V sum = *S::at(block.total + n * W);
      const V factor = T{1} / sum;
      for (std::int64_t k = 0; k < d; ++k) {
        T* const to = block.sums + k * kLanes + n * W;
        *S::at(to) = *S::at(to) * factor;
      }
      log<S>(sum);
      *S::at(block.largest + n * W) = *S::at(block.largest + n * W) + sum;
    }
  }
};

/// The gradients of one head, and what they need besides q, k and v. Those whose data is null are
/// not wanted: dq, or dk and dv.
template <class T>
struct AttentionGradients {
  MatrixView<const T> dy;
  const T* log_sum_exp;
  const T* dy_y;  // dy · y of each query
  MatrixView<T> dq, dk, dv;
};

/// The gradients that come of the keys [keys_begin, keys_end) and the queries [begin, end): dk and
/// dv of all these keys, for which the queries must be all that follow; dq of all these queries,
/// for which the keys must be all before.
///
/// s = scale q kᵀ,  p = exp(s - log_sum_exp),  ds = p ∘ (dy vᵀ - dy · y)
/// dq = scale ds k,  dk = scale dsᵀ q,  dv = pᵀ dy
struct CausalAttentionBackwardCore {
  template <class T>
  static constexpr std::int64_t scratch_size(std::int64_t d, std::int64_t queries) {
    return (4 * d + 2 * kAttentionTerms) * kMostAttentionLanes<T> +
           (kMostAttentionLanes<T> + queries) * padded<T>(d) + 2 * queries * d;
  }

  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(AttentionHead<T> head, AttentionGradients<T> gradients,
                                     std::int64_t keys_begin, std::int64_t keys_end,
                                     std::int64_t begin, std::int64_t end, T* scratch) {
    using S = Simd<T, Bytes>;
    constexpr int W = S::kWidth;
    constexpr std::int64_t kLanes = 2 * W;
    const std::int64_t d = head.q.cols;
    Block<T> block;
    block.keys = scratch;
    block.values = block.keys + d * kLanes;
    block.dk = block.values + d * kLanes;
    block.dv = block.dk + d * kLanes;
    block.p = block.dv + d * kLanes;
    block.ds = block.p + kAttentionTerms * kLanes;
    block.key_rows = block.ds + kAttentionTerms * kLanes;
    block.dq = block.key_rows + kLanes * padded<T>(d);
    T* const packed = block.dq + (end - begin) * padded<T>(d);
    block.dq -= begin * padded<T>(d);
    head.q = packed_rows<Bytes>(head.q, begin, end, packed);
    scale_by<S>(packed, (end - begin) * d, head.scale);
    gradients.dy = packed_rows<Bytes>(gradients.dy, begin, end, packed + (end - begin) * d);

    for (std::int64_t j = keys_begin; j < keys_end; j += kLanes) {
      const std::int64_t count = std::min(kLanes, keys_end - j);
      transpose<Bytes>(rows_of(head.k, j, count), block.keys, kLanes);
      transpose<Bytes>(rows_of(head.v, j, count), block.values, kLanes);
      if (gradients.dq.data) {
        copy_rows<Bytes>(rows_of(head.k, j, count), block.key_rows, padded<T>(d));
      }
      if (gradients.dk.data) std::fill_n(block.dk, 2 * d * kLanes, T{});
      // The queries before the second vector's keys are for the first alone.
      queries<Bytes, 1>(head, gradients, block, j, std::min<std::int64_t>(count, W),
                        std::max(j, begin), std::min(j + W, end));
      queries<Bytes, 2>(head, gradients, block, j, count, std::max(j + W, begin), end);
      if (gradients.dk.data) {
        const MatrixView<T> dk = rows_of(gradients.dk, j, count);
        const MatrixView<T> dv = rows_of(gradients.dv, j, count);
        transpose<Bytes>({block.dk, d, count, kLanes}, dk.data, dk.stride);
        transpose<Bytes>({block.dv, d, count, kLanes}, dv.data, dv.stride);
      }
    }
    if (!gradients.dq.data) return;
    T* const dq = block.dq + begin * padded<T>(d);
    scale_by<S>(dq, (end - begin) * padded<T>(d), head.scale);
    copy_rows<Bytes, T>({dq, end - begin, d, padded<T>(d)}, gradients.dq.row(begin),
                        gradients.dq.stride);
  }

 private:
  /// Rows of 2 W lanes, which are keys; the last two, of d elements and what fills up two vectors.
  template <class T>
  struct Block {
    T *keys, *values, *dk, *dv;  // kᵀ, vᵀ, dkᵀ, dvᵀ
    T *p, *ds;                   // of kAttentionTerms queries
    T* key_rows;                 // k
    T* dq;                       // of query 0, were it there
  };

  template <class T>
  static constexpr std::int64_t padded(std::int64_t d) {
    constexpr std::int64_t kMost = kMostAttentionLanes<T>;
    return (d + kMost - 1) / kMost * kMost;
  }

  // The queries [begin, end) against N vectors of keys from j on, `count` of which are there.
  template <int Bytes, int N, class T>
  static LORA_ALWAYS_INLINE void queries(const AttentionHead<T>& head,
                                         const AttentionGradients<T>& gradients,
                                         const Block<T>& block, std::int64_t j, std::int64_t count,
                                         std::int64_t begin, std::int64_t end) {
    using S = Simd<T, Bytes>;
    constexpr std::int64_t kLanes = 2 * S::kWidth;
    const std::int64_t d = head.q.cols;
    for (std::int64_t i = begin; i < end; i += kAttentionTerms) {
      const std::int64_t rows = std::min(kAttentionTerms, end - i);
      const MatrixView<const T> q = rows_of(head.q, i, rows);
      const MatrixView<const T> dy = rows_of(gradients.dy, i, rows);
      tile_product<N, Bytes>(as_is(q), rows, d, block.keys, kLanes, block.p, kLanes, false);
      tile_product<N, Bytes>(as_is(dy), rows, d, block.values, kLanes, block.ds, kLanes, false);
      score_gradients<S, N>(block, gradients.log_sum_exp + i, gradients.dy_y + i, rows, i - j);
      if (gradients.dk.data) {
        tile_product<N, Bytes>(transposed(dy), d, rows, block.p, kLanes, block.dv, kLanes, true);
        tile_product<N, Bytes>(transposed(q), d, rows, block.ds, kLanes, block.dk, kLanes, true);
      }
      if (gradients.dq.data) {
        const GemmOperand<T> ds{block.ds, kLanes, 1};
        add_dq<Bytes>(ds, rows, count, block.key_rows, block.dq + i * padded<T>(d), 0, d, j > 0);
      }
    }
  }

  // p and dy vᵀ are what the products left: kᵀ q and the latter. The first query is `ahead` of the
  // first key.
  template <class S, int N, class T>
  static LORA_ALWAYS_INLINE void score_gradients(const Block<T>& block, const T* log_sum_exp,
                                                 const T* dy_y, std::int64_t rows,
                                                 std::int64_t ahead) {
    using V = typename S::Vector;
    constexpr int W = S::kWidth;
    for (std::int64_t r = 0; r < rows; ++r) {
      LORA_UNROLL
      for (int n = 0; n < N; ++n) {
        T* const p = block.p + r * 2 * W + n * W;
        T* const ds = block.ds + r * 2 * W + n * W;
        V scores = *S::at(p);
        const std::int64_t last_seen = ahead + r - n * W;
        if (n == N - 1 && last_seen < W - 1) hide<S, false>(scores, last_seen);
        V x = scores - log_sum_exp[r];
        exp<S>(x);
        *S::at(p) = x;
        *S::at(ds) = x * (*S::at(ds) - dy_y[r]);
      }
    }
  }

  // dq[:, c...] += ds k, two vectors of columns at a time and narrower ones behind them.
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void add_dq(const GemmOperand<T>& ds, std::int64_t rows,
                                        std::int64_t keys, const T* key_rows, T* dq, std::int64_t c,
                                        std::int64_t d, bool accumulate) {
    using S = Simd<T, Bytes>;
    constexpr int W = S::kWidth;
    const std::int64_t stride = padded<T>(d);
    for (; d - c > W; c += 2 * W) {
      tile_product<2, Bytes>(ds, rows, keys, key_rows + c, stride, dq + c, stride, accumulate);
    }
    if (c >= d) return;
    if constexpr (Bytes > 32) {
      if (2 * (d - c) <= W) {
        return add_dq<Bytes / 2>(ds, rows, keys, key_rows, dq, c, d, accumulate);
      }
    }
    tile_product<1, Bytes>(ds, rows, keys, key_rows + c, stride, dq + c, stride, accumulate);
  }
};

/// out[i] = x[i, :] · y[i, :]
struct RowDotsCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> x, MatrixView<const T> y, T* out) {
    using S = Simd<T, Bytes>;
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* const a = x.row(i);
      const T* const b = y.row(i);
      typename S::Vector sum{};
      std::int64_t k = 0;
      for (; k + S::kWidth <= x.cols; k += S::kWidth) sum += *S::at(a + k) * *S::at(b + k);
      T total = S::sum(sum);
      for (; k < x.cols; ++k) total += a[k] * b[k];
      out[i] = total;
    }
  }
};

}  // namespace lora::inline v0::cpu
