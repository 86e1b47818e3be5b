// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

namespace lora::inline v0::cpu {

inline void count_errors(VectorView<const std::int32_t> predictions,
                         VectorView<const std::int32_t> labels, VectorView<std::int64_t> wrong) {
  for (std::int64_t i = 0; i < labels.size; ++i) {
    const std::int32_t label = labels[i];
    if (label >= 0 && label < wrong.size) wrong[label] += predictions[i] != label;
  }
}

}  // namespace lora::inline v0::cpu
