// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <lora/cpu/simd.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// to[j * to_stride + i] = from(i, j): squares of as many rows as a vector has elements, in
/// registers, and at the edges squares of half the size, down to single elements.
struct TransposeCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> from, T* to, std::int64_t to_stride) {
    constexpr int W = Simd<T, Bytes>::kWidth;
    const std::int64_t rows = from.rows / W * W;
    const std::int64_t cols = from.cols / W * W;
    for (std::int64_t i = 0; i < rows; i += W) {
      for (std::int64_t j = 0; j < cols; j += W) {
        square<Simd<T, Bytes>>(from.row(i) + j, from.stride, to + j * to_stride + i, to_stride);
      }
    }
    const MatrixView<const T> right{from.data + cols, rows, from.cols - cols, from.stride};
    const MatrixView<const T> below{from.row(rows), from.rows - rows, from.cols, from.stride};
    if constexpr (Bytes > 16) {
      run<Bytes / 2>(right, to + cols * to_stride, to_stride);
      run<Bytes / 2>(below, to + rows, to_stride);
    } else {
      elements(right, to + cols * to_stride, to_stride);
      elements(below, to + rows, to_stride);
    }
  }

 private:
  template <class T>
  static LORA_ALWAYS_INLINE void elements(const MatrixView<const T>& from, T* to,
                                          std::int64_t to_stride) {
    for (std::int64_t i = 0; i < from.rows; ++i) {
      for (std::int64_t j = 0; j < from.cols; ++j) to[j * to_stride + i] = from(i, j);
    }
  }

  template <class S, class T>
  static LORA_ALWAYS_INLINE void square(const T* from, std::int64_t from_stride, T* to,
                                        std::int64_t to_stride) {
    typename S::Vector row[S::kWidth];
    LORA_UNROLL
    for (int i = 0; i < S::kWidth; ++i) row[i] = *S::at(from + i * from_stride);
    exchange<S, S::kWidth / 2>(row, std::make_index_sequence<S::kWidth>{});
    LORA_UNROLL
    for (int i = 0; i < S::kWidth; ++i) *S::at(to + i * to_stride) = row[i];
  }

  // Exchanges the upper right and the lower left quarter of each square of 2 kSize rows, then goes
  // on within the quarters.
  template <class S, std::size_t kSize, std::size_t... I>
  static LORA_ALWAYS_INLINE void exchange(typename S::Vector (&row)[S::kWidth],
                                          std::index_sequence<I...> lanes) {
    constexpr std::size_t W = S::kWidth;
    LORA_UNROLL
    for (std::size_t i = 0; i < W; ++i) {
      if ((i & kSize) != 0) continue;
      const typename S::Vector upper = row[i];
      const typename S::Vector lower = row[i + kSize];
      row[i] = __builtin_shufflevector(upper, lower, ((I & kSize) ? W + I - kSize : I)...);
      row[i + kSize] = __builtin_shufflevector(upper, lower, ((I & kSize) ? W + I : I + kSize)...);
    }
    if constexpr (kSize > 1) exchange<S, kSize / 2>(row, lanes);
  }
};

/// TransposeCore, out of line.
template <int Bytes, class T>
LORA_ALWAYS_INLINE void transpose(const std::type_identity_t<MatrixView<const T>>& from, T* to,
                                  std::int64_t to_stride) {
  run_within<TransposeCore, Bytes>(from, to, to_stride);
}

}  // namespace lora::inline v0::cpu
