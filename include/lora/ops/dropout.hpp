// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include <lora/cpu/dropout.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/ops/linear.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

// y = x ∘ mask / (1 - p)             x, y: any shape
// dx = dy ∘ mask / (1 - p)           the same call with the same key, so no mask is kept
//
// Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15,
// 2014, scaled as in PyTorch. Element i, counted in row-major order, is kept if word i mod 4 of
//   philox4x32_10(counter = ⟨i / 4, offset⟩, key)
// is at least p 2³², rounded up (and at most 2³² - 1); ⟨a, b⟩ are the four 32-bit words of two
// 64-bit numbers, the lower ones first. The key is the first two words of
//   philox4x32_10(counter = ⟨stream, 2⁶⁴ - 1⟩, key = ⟨seed⟩)
// a counter that PhiloxGenerator never comes to: masks share nothing with initial values. So a mask
// depends on the key and on the tensor's size alone, not on the device nor on the number of
// threads.
//
// Errors: ShapeError, DeviceError, and ValueError unless 0 <= p < 1.

namespace lora::inline v0 {

/// Which mask it is. A layer has a stream; each of its forward passes another offset.
struct DropoutKey {
  std::uint64_t seed, stream, offset;
  /// Where a graph finds what is to be added to `offset`, a number on the op's device: the key
  /// itself is as fixed as all of a captured op's arguments. Null: nothing is added.
  const std::int64_t* step = nullptr;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

inline DropoutMask dropout_mask(const char* op, double p, const DropoutKey& key) {
  if (!(p >= 0 && p < 1)) {
    throw ValueError(std::string(op) + ": p is " + std::to_string(p) + ", expected 0 <= p < 1");
  }
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const std::array<std::uint32_t, 4> words = philox4x32_10(
      {low(key.stream), high(key.stream), 0xFFFFFFFF, 0xFFFFFFFF}, {low(key.seed), high(key.seed)});
  const double threshold = std::min(std::ceil(p * 0x1p32), 0x1p32 - 1);
  return {{words[0], words[1]},
          static_cast<std::uint32_t>(threshold),
          key.offset,
          key.step,
          1 / (1 - p)};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = x ∘ mask / (1 - p). `y` is resized to fit and may be `x` itself.
template <class T>
void dropout(const Tensor<T>& x, Tensor<T>& y, double p, const DropoutKey& key) {
  const detail::DropoutMask mask = detail::dropout_mask("dropout", p, key);
  y.resize(x.shape(), x.device());
  detail::dispatch<T>("dropout", x.device(), cpu::dropout<T>, &detail::Backend::dropout, x.vector(),
                      y.vector(), mask);
}

/// y += x ∘ mask / (1 - p), then through the ReLU that gave `relu_output`, unless that is null: the
/// adapter's share of dx, added to the base's. The shapes must be equal.
template <class T>
void dropout_add(const Tensor<T>& x, Tensor<T>& y, double p, const DropoutKey& key,
                 const Tensor<T>* relu_output = nullptr) {
  constexpr const char* kOp = "dropout_add";
  const detail::DropoutMask mask = detail::dropout_mask(kOp, p, key);
  detail::require_same_shape(kOp, "x", x, "y", y);
  if (relu_output) detail::require_same_shape(kOp, "relu_output", *relu_output, "y", y);
  detail::dispatch<T>(kOp, y.device(), cpu::dropout_add<T>, &detail::Backend::dropout_add,
                      x.vector(), detail::optional_vector(relu_output), y.vector(), mask);
}

}  // namespace lora::inline v0::ops
