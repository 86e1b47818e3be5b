// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

namespace lora::inline v0 {

/// What a kernel sees of a matrix: plain data, row-major, `stride` elements from row to row.
/// Owns nothing; valid while the tensor it came from is neither resized nor destroyed.
template <class T>
struct MatrixView {
  T* data;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t stride;

  T* row(std::int64_t i) const { return data + i * stride; }
  T& operator()(std::int64_t i, std::int64_t j) const { return data[i * stride + j]; }

  operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, cols, stride};
  }
};

/// What a kernel sees of a vector. `data` is null where an optional vector (a bias) is absent.
template <class T>
struct VectorView {
  T* data;
  std::int64_t size;

  T& operator[](std::int64_t i) const { return data[i]; }

  operator VectorView<const T>() const requires(!std::is_const_v<T>) { return {data, size}; }
};

static_assert(std::is_trivially_copyable_v<MatrixView<float>> &&
              std::is_standard_layout_v<MatrixView<float>>);
static_assert(std::is_trivially_copyable_v<VectorView<float>> &&
              std::is_standard_layout_v<VectorView<float>>);

}  // namespace lora::inline v0
