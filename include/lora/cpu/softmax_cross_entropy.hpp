// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void softmax_cross_entropy(MatrixView<const T> logits, VectorView<const std::int32_t> labels,
                           MatrixView<T> dlogits, lora::detail::LossSlots loss) {
  std::int64_t counted = 0;
  for (std::int64_t i = 0; i < labels.size; ++i) counted += labels[i] >= 0;
  const T weight = T{1} / static_cast<T>(counted);

  double total = 0;
  for (std::int64_t i = 0; i < logits.rows; ++i) {
    if (labels[i] < 0) {
      for (std::int64_t j = 0; j < logits.cols; ++j) dlogits(i, j) = 0;
      continue;
    }
    T largest = -std::numeric_limits<T>::infinity();
    for (std::int64_t j = 0; j < logits.cols; ++j) {
      // The comparison is false for a NaN, which must win.
      if (!(logits(i, j) <= largest)) largest = logits(i, j);
    }
    T sum = 0;
    for (std::int64_t j = 0; j < logits.cols; ++j) sum += std::exp(logits(i, j) - largest);
    const T log_sum = largest + std::log(sum);
    total += double{log_sum} - double{logits(i, labels[i])};
    for (std::int64_t j = 0; j < logits.cols; ++j) {
      const T probability = std::exp(logits(i, j) - log_sum);
      dlogits(i, j) = weight * (probability - static_cast<T>(j == labels[i]));
    }
  }
  const std::int64_t slot = loss.step ? (*loss.step - 1) % loss.capacity : 0;
  loss.losses[slot] = total / static_cast<double>(counted);
}

}  // namespace lora::inline v0::cpu
