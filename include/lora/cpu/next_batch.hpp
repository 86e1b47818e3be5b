// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/normalize_rows.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void next_batch(MatrixView<const std::uint8_t> images, VectorView<const std::int32_t> labels,
                VectorView<const std::int64_t> order, std::int64_t* step, MatrixView<T> y,
                VectorView<std::int32_t> batch_labels, double mean, double std) {
  const std::int64_t batch = (*step)++ % (order.size / y.rows);
  const VectorView<const std::int64_t> rows{order.data + batch * y.rows, y.rows};
  normalize_rows(images, rows, y, mean, std);
  for (std::int64_t i = 0; i < y.rows; ++i) batch_labels[i] = labels[rows[i]];
}

}  // namespace lora::inline v0::cpu
