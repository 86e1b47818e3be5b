// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// Images of one size, kept as bytes, and what they show.
struct LabeledImages {
  Tensor<std::uint8_t> images;  ///< (N, pixels), row-major, 0 is background
  Tensor<std::int32_t> labels;  ///< (N,)

  index_t size() const noexcept { return labels.numel(); }
};

/// The images whose label is among `digits`, in their order.
inline LabeledImages filter_digits(const LabeledImages& all, std::span<const int> digits) {
  const index_t pixels = all.images.dim(1);
  std::vector<std::uint8_t> images;
  std::vector<std::int32_t> labels;
  for (index_t i = 0; i < all.size(); ++i) {
    if (std::find(digits.begin(), digits.end(), all.labels[i]) == digits.end()) continue;
    const std::uint8_t* image = all.images.data() + i * pixels;
    images.insert(images.end(), image, image + pixels);
    labels.push_back(all.labels[i]);
  }
  const auto count = static_cast<index_t>(labels.size());
  return {Tensor<std::uint8_t>({count, pixels}, images), Tensor<std::int32_t>({count}, labels)};
}

/// The first `count` images, or all when there are fewer.
inline LabeledImages take_first(const LabeledImages& all, index_t count) {
  count = std::min(count, all.size());
  const index_t pixels = all.images.dim(1);
  return {Tensor<std::uint8_t>({count, pixels},
                               all.images.span().first(static_cast<std::size_t>(count * pixels))),
          Tensor<std::int32_t>({count}, all.labels.span().first(static_cast<std::size_t>(count)))};
}

}  // namespace lora::inline v0
