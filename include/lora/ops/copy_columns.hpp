// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/cpu/copy_columns.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

// Columns, the entries along the last size, from one tensor to another: what puts tensors side by
// side, and takes them apart again. Errors: ShapeError and DeviceError.

namespace lora::inline v0::detail {

/// The columns [first, first + cols) of the matrix `x`, a view of `of`.
template <class T>
MatrixView<T> columns_of(const char* op, const TensorFacts& of, MatrixView<T> x, index_t first,
                         index_t cols) {
  if (first < 0 || cols < 0 || cols > x.cols - first) {
    throw ShapeError(std::string(op) + ": columns [" + std::to_string(first) + ", " +
                     std::to_string(first + cols) + ") of " + describe(of.shape, of.device) +
                     " do not exist");
  }
  return {x.data + first, x.rows, cols, x.stride};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y[…, first : first + C] = x                    x: (…, C), y: (…, at least first + C)
///
/// The other columns of `y` stay.
template <class T>
void put_columns(const Tensor<T>& x, Tensor<T>& y, index_t first) {
  constexpr const char* kOp = "put_columns";
  detail::require_same_device(kOp, "x", x, "y", y);
  const MatrixView<const T> from = x.matrix();
  if (x.shape().rank() != y.shape().rank() || y.shape().with_cols(from.cols) != x.shape()) {
    detail::throw_mismatch<ShapeError>(kOp, "x", x, "y", y, "all sizes but the last must be equal");
  }
  const MatrixView<T> to = detail::columns_of(kOp, y, y.matrix(), first, from.cols);
  detail::dispatch<T>(kOp, x.device(), cpu::copy_columns<T>, &detail::Backend::copy_columns, from,
                      to);
}

/// y = x[…, first : first + count]                x: (…, at least first + count), y: (…, count)
///
/// `y` is resized to fit.
template <class T>
void take_columns(const Tensor<T>& x, Tensor<T>& y, index_t first, index_t count) {
  constexpr const char* kOp = "take_columns";
  const MatrixView<const T> from = detail::columns_of(kOp, x, x.matrix(), first, count);
  y.resize(x.shape().with_cols(count), x.device());
  detail::dispatch<T>(kOp, x.device(), cpu::copy_columns<T>, &detail::Backend::copy_columns, from,
                      y.matrix());
}

}  // namespace lora::inline v0::ops
