// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/count_errors.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::ops {

/// wrong_c += how many rows of label c were predicted to be another class; a label outside [0, C)
/// counts nowhere.                      predictions, labels: (B,), wrong: (C,)
inline void count_errors(const Tensor<std::int32_t>& predictions,
                         const Tensor<std::int32_t>& labels, Tensor<index_t>& wrong) {
  constexpr const char* kOp = "count_errors";
  detail::require_same_shape(kOp, "predictions", predictions, "labels", labels);
  detail::require_same_device(kOp, "wrong", wrong, "labels", labels);
  detail::dispatch<float>(kOp, labels.device(), cpu::count_errors, &detail::Backend::count_errors,
                          predictions.vector(), labels.vector(), wrong.vector());
}

}  // namespace lora::inline v0::ops
