// SPDX-License-Identifier: MIT
#include "attention_lora/windows.hpp"

#include <algorithm>

#include <lora/error.hpp>

#include "attention_lora/texts.hpp"

namespace attention_lora {

using lora::index_t;

Windows::Windows(std::string_view text, index_t batch, index_t context, std::uint64_t seed)
    : codes_(encode(text)),
      size_(batch),
      context_(context),
      seed_(seed),
      generator_(seed),
      places_(static_cast<std::size_t>(batch)),
      batch_{lora::Tensor<float>({batch, context}), lora::Tensor<std::int32_t>({batch * context})} {
  if (count() == 0) {
    throw lora::ValueError("windows: expected a text of more than " +
                           std::to_string(batch * context) + " characters, found " +
                           std::to_string(text.size()));
  }
}

const Batch& Windows::draw() {
  const auto begins = codes_.size() - static_cast<std::size_t>(context_);
  generator_.uniform(places_, 0, static_cast<double>(begins));
  for (index_t row = 0; row < size_; ++row) {
    copy_window(row, static_cast<std::size_t>(places_[static_cast<std::size_t>(row)]));
  }
  return batch_;
}

index_t Windows::count() const {
  return (static_cast<index_t>(codes_.size()) - 1) / (size_ * context_);
}

const Batch& Windows::consecutive(index_t i) {
  for (index_t row = 0; row < size_; ++row) {
    copy_window(row, static_cast<std::size_t>((i * size_ + row) * context_));
  }
  return batch_;
}

void Windows::copy_window(index_t row, std::size_t begin) {
  const float* from = codes_.data() + begin;
  std::copy_n(from, context_, batch_.codes.data() + row * context_);
  std::transform(from + 1, from + 1 + context_, batch_.next.data() + row * context_,
                 [](float code) { return static_cast<std::int32_t>(code); });
}

}  // namespace attention_lora
