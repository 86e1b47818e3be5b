// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/cpu/normalize_rows.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::ops {

/// Gathers rows of 8-bit images as normalised numbers: y_ij = (x_rows(i),j / 255 - mean) / std.
/// x: (N, P), rows: (B,), y: (B, P), resized to fit. Throws ValueError on a row outside [0, N).
template <class T>
void normalize_rows(const Tensor<std::uint8_t>& x, const Tensor<index_t>& rows, Tensor<T>& y,
                    double mean, double std) {
  detail::require_same_device("normalize_rows", "x", x, "rows", rows);
  const MatrixView<const std::uint8_t> images = x.matrix();
  if (rows.device() == Device::cpu) {
    for (const index_t row : rows.span()) {
      if (row < 0 || row >= images.rows) {
        throw ValueError("normalize_rows: row " + std::to_string(row) + " of x " + describe(x) +
                         " does not exist");
      }
    }
  }
  y.resize({rows.numel(), images.cols}, x.device());
  detail::dispatch<T>("normalize_rows", x.device(), cpu::normalize_rows<T>,
                      &detail::Backend::normalize_rows, images, rows.vector(), y.matrix(), mean,
                      std);
}

}  // namespace lora::inline v0::ops
