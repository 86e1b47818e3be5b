// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Rows [first, first + count) of x.
template <class T>
LORA_ALWAYS_INLINE MatrixView<T> rows_of(const MatrixView<T>& x, std::int64_t first,
                                         std::int64_t count) {
  return {x.row(first), count, x.cols, x.stride};
}

/// to[i, :] = from[i, :]
template <int Bytes, class T>
LORA_ALWAYS_INLINE void copy_rows(const MatrixView<const T>& from, T* to, std::int64_t stride) {
  using S = Simd<T, Bytes>;
  const std::int64_t whole = from.cols / S::kWidth * S::kWidth;
  for (std::int64_t i = 0; i < from.rows; ++i) {
    for (std::int64_t k = 0; k < whole; k += S::kWidth) {
      *S::at(to + i * stride + k) = *S::at(from.row(i) + k);
    }
  }
  if (whole == from.cols) return;
  if constexpr (Bytes > 16) {
    copy_rows<Bytes / 2, T>({from.data + whole, from.rows, from.cols - whole, from.stride},
                            to + whole, stride);
  } else {
    for (std::int64_t i = 0; i < from.rows; ++i) {
      for (std::int64_t k = whole; k < from.cols; ++k) to[i * stride + k] = from(i, k);
    }
  }
}

/// Rows [begin, end) of x, copied to `to`, close together: the places in the cache that rows some
/// power of two apart have may be the same few.
template <int Bytes, class T>
LORA_ALWAYS_INLINE MatrixView<const T> packed_rows(const MatrixView<const T>& x, std::int64_t begin,
                                                   std::int64_t end, T* to) {
  copy_rows<Bytes>(rows_of(x, begin, end - begin), to, x.cols);
  return {to - begin * x.cols, end, x.cols, x.cols};
}

}  // namespace lora::inline v0::cpu
