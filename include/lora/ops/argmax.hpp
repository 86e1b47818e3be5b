// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/argmax.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::ops {

/// indices_i = argmax_j x_ij         x: (B, C) with C > 0, indices: (B,)
///
/// The first of equals; a NaN is larger than everything, as in PyTorch. Throws ShapeError when
/// there are no columns to choose from.
template <class T>
void argmax(const Tensor<T>& x, Tensor<std::int32_t>& indices) {
  const MatrixView<const T> rows = x.matrix();
  if (rows.cols == 0) throw ShapeError("argmax: x is " + describe(x) + ", it has no columns");
  indices.resize({rows.rows}, x.device());
  detail::dispatch<T>("argmax", x.device(), cpu::argmax<T>, &detail::Backend::argmax, rows,
                      indices.vector());
}

}  // namespace lora::inline v0::ops
