// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// Loops over rows, one vector register at a time. Where a row is no whole number of vectors, its
// last elements are copied into a vector that is filled up, so that every element is computed in
// one way, and a loop has one body.

namespace lora::inline v0::cpu {

/// The last `count` elements of a row, and `fill` behind them.
template <class T, int kWidth>
struct Padded {
  LORA_ALWAYS_INLINE Padded(const T* from, std::int64_t count, T fill) {
    for (T& element : data) element = fill;
    // By powers of two: a copy of any length would be a call.
    std::int64_t i = 0;
    LORA_UNROLL
    for (int step = kWidth / 2; step > 0; step /= 2) {
      if (!(count & step)) continue;
      __builtin_memcpy(data + i, from + i, static_cast<std::size_t>(step) * sizeof(T));
      i += step;
    }
  }
  T data[kWidth];
};

/// Calls f(i, rows + k...) for each vector of rows of `size` elements, with `fill` behind the last
/// elements. i is 0 and 1 in turn: sums in two vectors wait for each other half as long.
template <class S, class T, class F, class... Rows>
LORA_ALWAYS_INLINE void visit_vectors(std::int64_t size, T fill, const F& f, const Rows*... rows) {
  constexpr int W = S::kWidth;
  std::int64_t k = 0;
  for (; k + 2 * W <= size; k += 2 * W) {
    f(0, (rows + k)...);
    f(1, (rows + k + W)...);
  }
  if (k + W <= size) {
    f(0, (rows + k)...);
    k += W;
  }
  if (k < size) f(1, Padded<T, W>(rows + k, size - k, fill).data...);
}

/// Calls f(to + k, rows + k...), which stores a vector, for each vector of rows of `size` elements,
/// with `fill` behind the last elements. `to` may be one of the rows.
template <class S, class T, class F, class... Rows>
LORA_ALWAYS_INLINE void map_vectors(std::int64_t size, T fill, const F& f, T* to,
                                    const Rows*... rows) {
  constexpr int W = S::kWidth;
  std::int64_t k = 0;
  for (; k + W <= size; k += W) f(to + k, (rows + k)...);
  if (k == size) return;
  T last[W];
  f(last, Padded<T, W>(rows + k, size - k, fill).data...);
  std::copy_n(last, size - k, to + k);
}

/// F::run<S>(to, rows...) for all vectors of [0, size).
template <class F>
struct MapCore {
  template <int Bytes, class T, class... Rows>
  static LORA_ALWAYS_INLINE void run(std::int64_t size, T* to, const Rows*... rows) {
    using S = Simd<T, Bytes>;
    map_vectors<S>(
        size, T{},
        [](T* at, const Rows*... from) LORA_INLINE_LAMBDA { F::template run<S>(at, from...); }, to,
        rows...);
  }
};

/// y = F of the elements of `rows`, shared among the threads. `y` may be one of them.
template <class F, class T, class... Rows>
void map(VectorView<T> y, const Rows*... rows) {
  constexpr std::int64_t kGrain = 4096;
  lora::detail::parallel_for(y.size, kGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<MapCore<F>>(end - begin, y.data + begin, (rows + begin)...);
  });
}

}  // namespace lora::inline v0::cpu
