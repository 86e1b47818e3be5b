// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// Rows and columns by index. The op has looked at the indices: each is a whole number in range.
// Backward, threads share what does not meet in a sum: columns of dw, rows of da.

namespace lora::inline v0::cpu {

namespace detail {

/// Rows of a batch that a thread takes at a time, and columns of a gradient.
constexpr std::int64_t kEmbeddingGrain = 16;

}  // namespace detail

template <class T>
void embedding(VectorView<const T> indices, MatrixView<const T> weight, MatrixView<T> y,
               bool accumulate) {
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* const from = weight.row(static_cast<std::int64_t>(indices[i]));
      T* const to = y.row(i);
      if (accumulate) {
        for (std::int64_t j = 0; j < y.cols; ++j) to[j] += from[j];
      } else {
        std::copy_n(from, y.cols, to);
      }
    }
  };
  lora::detail::parallel_for(indices.size, detail::kEmbeddingGrain, run);
}

template <class T>
void embedding_backward(MatrixView<const T> dy, VectorView<const T> indices, MatrixView<T> dw,
                        bool accumulate) {
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    if (!accumulate) {
      for (std::int64_t v = 0; v < dw.rows; ++v) std::fill_n(dw.row(v) + begin, end - begin, T{});
    }
    for (std::int64_t i = 0; i < indices.size; ++i) {
      const T* const from = dy.row(i);
      T* const to = dw.row(static_cast<std::int64_t>(indices[i]));
      for (std::int64_t j = begin; j < end; ++j) to[j] += from[j];
    }
  };
  lora::detail::parallel_for(dw.cols, detail::kEmbeddingGrain, run);
}

template <class T>
void embedding_columns(VectorView<const T> indices, MatrixView<const T> a, MatrixView<T> h,
                       double scale) {
  const T s = static_cast<T>(scale);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto column = static_cast<std::int64_t>(indices[i]);
      for (std::int64_t r = 0; r < a.rows; ++r) h(i, r) = s * a(r, column);
    }
  };
  lora::detail::parallel_for(indices.size, detail::kEmbeddingGrain, run);
}

template <class T>
void embedding_columns_backward(MatrixView<const T> dh, VectorView<const T> indices,
                                MatrixView<T> da, double scale, bool accumulate) {
  const T s = static_cast<T>(scale);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      T* const to = da.row(r);
      if (!accumulate) std::fill_n(to, da.cols, T{});
      for (std::int64_t i = 0; i < indices.size; ++i) {
        to[static_cast<std::int64_t>(indices[i])] += s * dh(i, r);
      }
    }
  };
  lora::detail::parallel_for(da.rows, 1, run);
}

}  // namespace lora::inline v0::cpu
