// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <lora/data/labeled_images.hpp>
#include <lora/error.hpp>
#include <lora/ops/normalize_rows.hpp>
#include <lora/tensor.hpp>
#include <lora/torch_generator.hpp>

namespace lora::inline v0 {

/// Pixels become (byte / 255 - mean) / std. The default is what MNIST is usually given.
struct Normalization {
  double mean = 0.1307;
  double std = 0.3081;
};

template <class T>
struct Batch {
  Tensor<T> images;             ///< (B, pixels)
  Tensor<std::int32_t> labels;  ///< (B,)
};

/// Goes through a data set in batches, in order or shuffled; the last batch may be smaller.
///     for (const auto& [images, labels] : loader) ...
/// One batch exists at a time, in memory that is used again.
template <class T>
class DataLoader {
 public:
  /// `data` must outlive the loader. Throws ValueError on a batch size below 1.
  DataLoader(const LabeledImages& data, index_t batch_size, Normalization normalization = {})
      : data_(&data),
        batch_size_(batch_size),
        normalization_(normalization),
        order_(static_cast<std::size_t>(data.size())) {
    if (batch_size < 1) {
      throw ValueError("DataLoader: batch size " + std::to_string(batch_size) +
                       ", expected at least 1");
    }
    std::iota(order_.begin(), order_.end(), index_t{0});
  }

  /// Takes a new order, as one pass over `torch.utils.data.DataLoader(shuffle=True)` does.
  void shuffle(TorchGenerator& generator) { order_ = generator.data_loader_order(data_->size()); }

  /// The number of batches.
  index_t size() const noexcept { return (data_->size() + batch_size_ - 1) / batch_size_; }

  /// Which sample comes when.
  const std::vector<index_t>& order() const noexcept { return order_; }

  /// The i-th batch; valid until another one is asked for.
  const Batch<T>& batch(index_t i) {
    const index_t begin = i * batch_size_;
    const index_t count = std::min(batch_size_, data_->size() - begin);
    rows_.resize({count});
    batch_.labels.resize({count});
    for (index_t k = 0; k < count; ++k) {
      rows_[k] = order_[static_cast<std::size_t>(begin + k)];
      batch_.labels[k] = data_->labels[rows_[k]];
    }
    ops::normalize_rows(data_->images, rows_, batch_.images, normalization_.mean,
                        normalization_.std);
    return batch_;
  }

  class Iterator {
   public:
    Iterator(DataLoader* loader, index_t i) : loader_(loader), i_(i) {}
    const Batch<T>& operator*() const { return loader_->batch(i_); }
    Iterator& operator++() {
      ++i_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return i_ == other.i_; }

   private:
    DataLoader* loader_;
    index_t i_;
  };

  Iterator begin() { return {this, 0}; }
  Iterator end() { return {this, size()}; }

 private:
  const LabeledImages* data_;
  index_t batch_size_;
  Normalization normalization_;
  std::vector<index_t> order_;
  Tensor<index_t> rows_;
  Batch<T> batch_;
};

}  // namespace lora::inline v0
