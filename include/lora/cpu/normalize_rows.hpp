// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void normalize_rows(MatrixView<const std::uint8_t> x, VectorView<const std::int64_t> rows,
                    MatrixView<T> y, double mean, double std) {
  const T m = static_cast<T>(mean);
  const T s = static_cast<T>(std);
  for (std::int64_t i = 0; i < rows.size; ++i) {
    const std::uint8_t* from = x.row(rows[i]);
    T* to = y.row(i);
    // Division, subtraction, division, as torchvision's ToTensor and Normalize round them.
    for (std::int64_t j = 0; j < x.cols; ++j) to[j] = (static_cast<T>(from[j]) / T{255} - m) / s;
  }
}

}  // namespace lora::inline v0::cpu
