// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace attention_lora {

struct Batch {
  lora::Tensor<float> codes;        ///< (B, T): characters in a row
  lora::Tensor<std::int32_t> next;  ///< (B T): the character behind each
};

/// Batches of windows of a text, each `context` characters and the one behind.
class Windows {
 public:
  /// Throws lora::ValueError where the text is too short for one batch of consecutive windows.
  Windows(std::string_view text, lora::index_t batch, lora::index_t context,
          std::uint64_t seed = 0);

  /// Windows that begin anywhere, the next of a sequence that depends on the seed alone.
  const Batch& draw();

  /// Begins that sequence again.
  void restart() { generator_ = lora::PhiloxGenerator(seed_); }

  /// Whole batches of consecutive windows, none of which overlap.
  lora::index_t count() const;

  /// The i-th of them. Either kind of batch is valid until the next is asked for.
  const Batch& consecutive(lora::index_t i);

 private:
  void copy_window(lora::index_t row, std::size_t begin);

  std::vector<float> codes_;
  lora::index_t size_, context_;
  std::uint64_t seed_;
  lora::PhiloxGenerator generator_;
  std::vector<double> places_;
  Batch batch_;
};

}  // namespace attention_lora
