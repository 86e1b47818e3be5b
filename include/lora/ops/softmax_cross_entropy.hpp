// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/cpu/softmax_cross_entropy.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/detail/pinned.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

// loss = mean_i (log Σ_j exp(z_ij) - z_i,label(i)),   dz = (softmax(z) - onehot(label)) / N
//                                                     z: (B, C), labels: (B,)

namespace lora::inline v0 {

/// A label that takes its row out of the loss, as PyTorch's `ignore_index`.
inline constexpr std::int32_t kIgnoreIndex = -100;

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

template <class T>
void softmax_cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels,
                           Tensor<T>& dlogits, const LossSlots& loss) {
  constexpr const char* kOp = "softmax_cross_entropy";
  const MatrixView<const T> z = logits.matrix();
  require_same_device(kOp, "logits", logits, "labels", labels);
  if (labels.numel() != z.rows) {
    throw_mismatch<ShapeError>(kOp, "logits", logits, "labels", labels,
                               "there must be one label for each row");
  }
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
  dispatch<T>(kOp, logits.device(), cpu::softmax_cross_entropy<T>, &Backend::softmax_cross_entropy,
              z, labels.vector(), dlogits.matrix(), loss);
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// The mean cross-entropy over the rows whose label is not kIgnoreIndex, and its gradient with
/// respect to the logits, in one pass; `dlogits` is resized to fit. The loss is NaN when no row
/// counts. Throws ValueError on any other label outside [0, C); on a GPU, where labels are not
/// looked at beforehand, a negative one takes its row out and a larger one makes the loss NaN.
template <class T>
double softmax_cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels,
                             Tensor<T>& dlogits) {
  if (logits.device() == Device::cpu) {
    double loss = 0;
    detail::softmax_cross_entropy(logits, labels, dlogits, {&loss, 1, nullptr});
    return loss;
  }
  const detail::Backend& table = detail::backend();
  thread_local const detail::PinnedMemory<double> loss(1);
  detail::softmax_cross_entropy(logits, labels, dlogits, {loss.data(), 1, nullptr});
  detail::check_memory("softmax_cross_entropy", table.synchronize(detail::current_stream));
  return *loss.data();
}

/// As above, without waiting for the GPU, so that it can be captured in a graph: the loss goes to
/// losses[(step - 1) % losses.numel()] for the step counted from 1, step: (1,). All on one device.
template <class T>
void softmax_cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels,
                           Tensor<T>& dlogits, Tensor<double>& losses,
                           const Tensor<index_t>& step) {
  constexpr const char* kOp = "softmax_cross_entropy";
  detail::require_same_device(kOp, "losses", losses, "logits", logits);
  detail::require_same_device(kOp, "step", step, "logits", logits);
  if (losses.empty() || step.numel() != 1) {
    throw ShapeError(std::string(kOp) + ": losses is " + describe(losses) + ", step is " +
                     describe(step) + ": expected at least one loss, and one step");
  }
  detail::softmax_cross_entropy(logits, labels, dlogits,
                                {losses.data(), losses.numel(), step.data()});
}

}  // namespace lora::inline v0::ops

namespace lora::inline v0 {

using ops::softmax_cross_entropy;

}  // namespace lora::inline v0
