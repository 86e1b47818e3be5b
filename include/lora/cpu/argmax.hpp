// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void argmax(MatrixView<const T> x, VectorView<std::int32_t> indices) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    std::int32_t best = 0;
    for (std::int32_t j = 1; j < x.cols; ++j) {
      const bool best_is_nan = x(i, best) != x(i, best);
      if (!best_is_nan && !(x(i, j) <= x(i, best))) best = j;
    }
    indices[i] = best;
  }
}

}  // namespace lora::inline v0::cpu
