// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/cpu/next_batch.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::ops {

/// Gathers the next whole batch of a data set, normalised as normalize_rows does it, and counts the
/// step: with k = *step % (E / B), row i of the batch is image order[k B + i]; then ++*step. The
/// batch is a function of what lies on the device, so a captured graph can be launched again.
///     images: (N, P), labels: (N,), order: (E,) with E >= B, step: (1,), y: (B, P)
/// The caller has given y its shape and seen to it that order's entries are in [0, N).
template <class T>
void next_batch(const Tensor<std::uint8_t>& images, const Tensor<std::int32_t>& labels,
                const Tensor<index_t>& order, Tensor<index_t>& step, Tensor<T>& y,
                Tensor<std::int32_t>& batch_labels, double mean, double std) {
  constexpr const char* kOp = "next_batch";
  detail::require_equal_dims(kOp, "images", images, 0, "labels", labels, 0);
  detail::require_equal_dims(kOp, "images", images, 1, "y", y, 1);
  detail::require_same_device(kOp, "order", order, "y", y);
  detail::require_same_device(kOp, "step", step, "y", y);
  if (y.dim(0) < 1 || order.numel() < y.dim(0) || step.numel() != 1) {
    throw ShapeError(std::string(kOp) + ": y is " + describe(y) + ", order is " + describe(order) +
                     ", step is " + describe(step) +
                     ": expected at least one row, as many entries as rows, and one step");
  }
  batch_labels.resize({y.dim(0)}, y.device());
  detail::dispatch<T>(kOp, y.device(), cpu::next_batch<T>, &detail::Backend::next_batch,
                      images.matrix(), labels.vector(), order.vector(), step.data(), y.matrix(),
                      batch_labels.vector(), mean, std);
}

}  // namespace lora::inline v0::ops
