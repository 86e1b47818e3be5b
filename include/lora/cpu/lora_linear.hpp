// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

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
                 double scale) {
  linear<T>(x, a, {}, h);
  scale_in_place(h, static_cast<T>(scale));
  linear_with<T>(x, w, bias, {h, b}, y);
}

template <class T>
void lora_linear_backward_input(MatrixView<const T> dy, MatrixView<const T> w,
                                MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> dh,
                                MatrixView<T> dx, double scale) {
  linear_backward_input<T>(dy, b, dh);
  scale_in_place(dh, static_cast<T>(scale));
  if (!dx.data) return;
  linear_backward_input<T>(dy, w, dx);
  accumulate_product<T>(dh, a, dx, true);
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
