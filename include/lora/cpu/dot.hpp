// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Σ x_i y_i in double, where a product of floats is exact.
template <int Bytes, class T>
LORA_ALWAYS_INLINE double dot_in_double(const T* x, const T* y, std::int64_t size) {
  using S = Simd<double, Bytes>;
  using V = typename S::Vector;
  constexpr int W = S::kWidth;
  typedef T Few __attribute__((vector_size(W * sizeof(T)), aligned(sizeof(T)), may_alias));
  constexpr int N = 4;  // sums side by side: one would wait for each addition
  V sum[N] = {};
  std::int64_t k = 0;
  for (; k + N * W <= size; k += N * W) {
    LORA_UNROLL
    for (int n = 0; n < N; ++n) {
      const V from_x = __builtin_convertvector(*reinterpret_cast<const Few*>(x + k + n * W), V);
      const V from_y = __builtin_convertvector(*reinterpret_cast<const Few*>(y + k + n * W), V);
      sum[n] += from_x * from_y;
    }
  }
  double rest = 0;
  for (; k < size; ++k) rest += double{x[k]} * double{y[k]};
  return S::sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

struct DotCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* x, const T* y, std::int64_t size, double* sum) {
    *sum = dot_in_double<Bytes>(x, y, size);
  }
};

/// In chunks that depend on the size alone, whose sums are added in order.
template <class T>
void dot(VectorView<const T> x, VectorView<const T> y, double* result) {
  constexpr std::int64_t kMost = 64;
  const std::int64_t chunk = std::max<std::int64_t>(4096, (x.size + kMost - 1) / kMost);
  const std::int64_t count = (x.size + chunk - 1) / chunk;
  double sums[kMost];
  lora::detail::parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      const std::int64_t first = c * chunk;
      run_simd<DotCore>(x.data + first, y.data + first, std::min(chunk, x.size - first), sums + c);
    }
  });
  *result = 0;
  for (std::int64_t c = 0; c < count; ++c) *result += sums[c];
}

/// What row `i` gives to the squared norm: its products with itself and with the rows behind it,
/// around the end, half of all, so that rows have equal work. Those stand for the other half too; a
/// row just opposite sees this one for itself.
struct SquaredNormFactoredCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> x, std::int64_t i,
                                     double* sum) {
    *sum = 0;
    for (std::int64_t distance = 0; 2 * distance <= dy.rows; ++distance) {
      const std::int64_t j = (i + distance) % dy.rows;
      const double product = dot_in_double<Bytes>(dy.row(i), dy.row(j), dy.cols) *
                             dot_in_double<Bytes>(x.row(i), x.row(j), x.cols);
      *sum += distance == 0 || 2 * distance == dy.rows ? product : 2 * product;
    }
  }
};

template <class T>
void squared_norm_factored(MatrixView<const T> dy, MatrixView<const T> x, double* result) {
  thread_local std::vector<double> memory;
  memory.resize(static_cast<std::size_t>(dy.rows));
  double* const sums = memory.data();
  lora::detail::parallel_for(dy.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      run_simd<SquaredNormFactoredCore>(dy, x, i, sums + i);
    }
  });
  double sum = 0;
  for (const double of_row : memory) sum += of_row;
  // Rows that cancel may leave a rounding below 0.
  *result = sum < 0 ? 0 : sum;
}

}  // namespace lora::inline v0::cpu
