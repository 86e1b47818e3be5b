// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include <lora/cpu/linear.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void scale_in_place(MatrixView<T> x, T factor) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    for (std::int64_t j = 0; j < x.cols; ++j) x(i, j) *= factor;
  }
}

template <class T>
void lora_linear(MatrixView<const T> x, MatrixView<const T> w, VectorView<const T> bias,
                 MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> h, MatrixView<T> y,
                 double scale, Activation activation) {
  linear<T>(x, a, {}, h);
  scale_in_place(h, static_cast<T>(scale));
  linear_with<T>(x, w, bias, {h, b}, y, activation);
}

/// dh = scale dy B. B is turned first, so that the sums over its many rows run along memory.
template <class T>
void low_rank_backward_input(MatrixView<const T> dy, MatrixView<const T> b, MatrixView<T> dh,
                             T scale) {
  thread_local std::vector<T> turned;
  turned.resize(static_cast<std::size_t>(b.rows * b.cols));
  const MatrixView<T> b_turned{turned.data(), b.cols, b.rows, b.rows};
  for (std::int64_t o = 0; o < b.rows; ++o) {
    for (std::int64_t r = 0; r < b.cols; ++r) b_turned(r, o) = scale * b(o, r);
  }
  linear<T>(dy, b_turned, {}, dh);
}

template <class T>
void lora_linear_backward_input(MatrixView<const T> dy, MatrixView<const T> w,
                                MatrixView<const T> a, MatrixView<const T> b,
                                MatrixView<const T> relu_output, MatrixView<T> dh, MatrixView<T> dx,
                                double scale) {
  low_rank_backward_input<T>(dy, b, dh, static_cast<T>(scale));
  if (!dx.data) return;
  if (detail::is_large(dy.rows, w.rows, w.cols)) {
    gemm(as_is(dy), as_is(w), w.rows, dx, false);
    gemm(as_is(MatrixView<const T>(dh)), as_is(a), a.rows, dx, true);
    return detail::through_relu(relu_output, dx);
  }
  const auto add = [&](const MatrixView<T>& sum, std::int64_t begin, std::int64_t end) {
    run_simd<LinearBackwardInputCore>(dy, w, sum, begin, end);
    if (end == w.rows) {
      run_simd<LinearBackwardInputCore>(MatrixView<const T>(dh), a, sum, std::int64_t{0}, a.rows);
    }
  };
  detail::sum_over_rows<T>(w.rows, relu_output, dx, add);
}

template <class T>
void lora_merge(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> w, double scale) {
  lora::detail::parallel_for(w.rows, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      for (std::int64_t k = 0; k < w.cols; ++k) {
        T sum = 0;
        for (std::int64_t r = 0; r < a.rows; ++r) sum += b(o, r) * a(r, k);
        w(o, k) += static_cast<T>(scale) * sum;
      }
    }
  });
}

}  // namespace lora::inline v0::cpu
