// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <lora/cpu/attention_cores.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

namespace detail {

/// The part of a (B T, heads d) matrix that belongs to one head of one sequence.
template <class T>
MatrixView<T> head_of(const MatrixView<T>& x, std::int64_t length, std::int64_t heads,
                      std::int64_t pair) {
  const std::int64_t d = x.cols / heads;
  return {x.row(pair / heads * length) + pair % heads * d, length, d, x.stride};
}

template <class T>
AttentionHead<T> attention_head(const MatrixView<const T>& q, const MatrixView<const T>& k,
                                const MatrixView<const T>& v, std::int64_t length,
                                std::int64_t heads, std::int64_t pair) {
  return {head_of(q, length, heads, pair), head_of(k, length, heads, pair),
          head_of(v, length, heads, pair), T{1} / std::sqrt(static_cast<T>(q.cols / heads))};
}

/// Memory of this thread, which begins where a cache line does; valid until the next call.
template <class T>
T* attention_scratch(std::int64_t size) {
  constexpr std::size_t kLine = 64;
  thread_local std::vector<T> memory;
  const std::size_t needed = static_cast<std::size_t>(size) + kLine / sizeof(T);
  if (memory.size() < needed) memory.resize(needed);
  void* start = memory.data();
  std::size_t space = memory.size() * sizeof(T);
  return static_cast<T*>(std::align(kLine, sizeof(T), start, space));
}

/// Calls body(pair, begin, end) for the blocks of `length` of each of `pairs` pairs. What a block
/// costs grows from one end of the sequence to the other, so they are shared among threads two at a
/// time, one from each end.
template <class Body>
void for_each_block(std::int64_t pairs, std::int64_t length, std::int64_t block, const Body& body) {
  const std::int64_t blocks = (length + block - 1) / block;
  const std::int64_t units = (blocks + 1) / 2;
  lora::detail::parallel_for(pairs * units, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const auto run = [&](std::int64_t b) {
        body(i / units, b * block, std::min(length, (b + 1) * block));
      };
      const std::int64_t unit = i % units;
      run(unit);
      if (blocks - 1 - unit != unit) run(blocks - 1 - unit);
    }
  });
}

}  // namespace detail

template <class T>
void causal_attention(MatrixView<const T> q, MatrixView<const T> k, MatrixView<const T> v,
                      std::int64_t heads, MatrixView<T> y, MatrixView<T> log_sum_exp) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t length = log_sum_exp.cols;
  detail::for_each_block(
      log_sum_exp.rows, length, kBlock,
      [&](std::int64_t pair, std::int64_t begin, std::int64_t end) {
        T* const scratch =
            detail::attention_scratch<T>(CausalAttentionCore::scratch_size<T>(q.cols / heads, end));
        run_simd<CausalAttentionCore>(detail::attention_head(q, k, v, length, heads, pair),
                                      detail::head_of(y, length, heads, pair),
                                      log_sum_exp.row(pair), begin, end, scratch);
      });
}

template <class T>
void causal_attention_backward(MatrixView<const T> dy, MatrixView<const T> q, MatrixView<const T> k,
                               MatrixView<const T> v, MatrixView<const T> y,
                               MatrixView<const T> log_sum_exp, std::int64_t heads,
                               MatrixView<T> dq, MatrixView<T> dk, MatrixView<T> dv) {
  constexpr std::int64_t kKeys = 64;
  constexpr std::int64_t kQueries = 256;
  constexpr MatrixView<T> kNotWanted{nullptr, 0, 0, 0};
  const std::int64_t length = log_sum_exp.cols;
  const std::int64_t pairs = log_sum_exp.rows;
  const std::int64_t d = q.cols / heads;
  if (pairs * length == 0) return;
  thread_local std::vector<T> memory;
  memory.resize(static_cast<std::size_t>(pairs * length));
  T* const dots = memory.data();
  lora::detail::parallel_for(pairs, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t pair = begin; pair < end; ++pair) {
      run_simd<RowDotsCore>(detail::head_of(dy, length, heads, pair),
                            detail::head_of(y, length, heads, pair), dots + pair * length);
    }
  });

  const auto run = [&](std::int64_t pair, bool wants_dq, bool wants_dk_dv, std::int64_t keys_begin,
                       std::int64_t keys_end, std::int64_t begin, std::int64_t end) {
    const AttentionGradients<T> gradients{
        detail::head_of(dy, length, heads, pair),
        log_sum_exp.row(pair),
        dots + pair * length,
        wants_dq ? detail::head_of(dq, length, heads, pair) : kNotWanted,
        wants_dk_dv ? detail::head_of(dk, length, heads, pair) : kNotWanted,
        wants_dk_dv ? detail::head_of(dv, length, heads, pair) : kNotWanted};
    T* const scratch =
        detail::attention_scratch<T>(CausalAttentionBackwardCore::scratch_size<T>(d, end - begin));
    run_simd<CausalAttentionBackwardCore>(detail::attention_head(q, k, v, length, heads, pair),
                                          gradients, keys_begin, keys_end, begin, end, scratch);
  };

  // Five products where a pair is one thread's; seven, two of them made twice, where there are too
  // few pairs for all threads. Either way an element is the same sum in the same order.
  const std::int64_t threads = lora::detail::ThreadPool::instance().size();
  const std::int64_t rounds = (pairs + threads - 1) / threads;
  if (5 * rounds * threads <= 7 * pairs || length <= kKeys) {
    lora::detail::parallel_for(pairs, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t pair = begin; pair < end; ++pair) {
        run(pair, true, true, 0, length, 0, length);
      }
    });
    return;
  }
  detail::for_each_block(pairs, length, kKeys,
                         [&](std::int64_t pair, std::int64_t begin, std::int64_t end) {
                           run(pair, false, true, begin, end, begin, length);
                         });
  detail::for_each_block(pairs, length, kQueries,
                         [&](std::int64_t pair, std::int64_t begin, std::int64_t end) {
                           run(pair, true, false, 0, end, begin, end);
                         });
}

}  // namespace lora::inline v0::cpu
