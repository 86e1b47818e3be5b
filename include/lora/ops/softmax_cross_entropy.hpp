// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/cpu/softmax_cross_entropy.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

// loss = mean_i (log Σ_j exp(z_ij) - z_i,label(i)),   dz = (softmax(z) - onehot(label)) / N
//                                                     z: (B, C), labels: (B,)

namespace lora::inline v0 {

/// A label that takes its row out of the loss, as PyTorch's `ignore_index`.
inline constexpr std::int32_t kIgnoreIndex = -100;

}  // namespace lora::inline v0

namespace lora::inline v0::ops {

/// The mean cross-entropy over the rows whose label is not kIgnoreIndex, and its gradient with
/// respect to the logits, in one pass; `dlogits` is resized to fit. The loss is NaN when no row
/// counts. Throws ValueError on any other label outside [0, C).
template <class T>
double softmax_cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels,
                             Tensor<T>& dlogits) {
  constexpr const char* kOp = "softmax_cross_entropy";
  detail::require_equal_dims(kOp, "logits", logits, 0, "labels", labels, 0);
  const MatrixView<const T> z = logits.matrix();
  if (labels.device() == Device::cpu) {
    for (index_t i = 0; i < labels.numel(); ++i) {
      if (labels[i] != kIgnoreIndex && (labels[i] < 0 || labels[i] >= z.cols)) {
        throw ValueError(std::string(kOp) + ": label " + std::to_string(labels[i]) + " of row " +
                         std::to_string(i) + " is outside the " + std::to_string(z.cols) +
                         " classes of logits " + describe(logits));
      }
    }
  }
  dlogits.resize(logits.shape(), logits.device());
  double loss = 0;
  detail::dispatch<T>(kOp, logits.device(), cpu::softmax_cross_entropy<T>,
                      &detail::Backend::softmax_cross_entropy, z, labels.vector(), dlogits.matrix(),
                      detail::LossSlots{&loss, 1, nullptr});
  return loss;
}

}  // namespace lora::inline v0::ops

namespace lora::inline v0 {

using ops::softmax_cross_entropy;

}  // namespace lora::inline v0
