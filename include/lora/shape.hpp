// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include <lora/error.hpp>

namespace lora::inline v0 {

/// Sizes and subscripts are signed 64-bit everywhere: they can be subtracted without surprises.
using index_t = std::int64_t;

/// The sizes of a tensor, outermost first, row-major: rank 0 (a scalar) to 4.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  constexpr Shape() = default;

  /// Throws ShapeError on more than four sizes, a negative size, or an element count beyond 63
  /// bits.
  constexpr Shape(std::initializer_list<index_t> sizes) : Shape(sizes.begin(), sizes.end()) {}

  template <class Iterator>
  constexpr Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) {
      if (rank_ == kMaxRank) throw ShapeError("Shape: more than 4 sizes");
      if (*first < 0) throw ShapeError("Shape: a size is negative: " + std::to_string(*first));
      sizes_[static_cast<std::size_t>(rank_++)] = *first;
    }
    for (int i = 0; i < rank_; ++i) {
      const index_t size = (*this)[i];
      if (size != 0 && numel_ > std::numeric_limits<index_t>::max() / size) {
        throw ShapeError("Shape: " + to_string() + " has more than 2^63 - 1 elements");
      }
      numel_ *= size;
    }
  }

  constexpr int rank() const noexcept { return rank_; }

  /// The number of elements; 1 for a scalar.
  constexpr index_t numel() const noexcept { return numel_; }

  constexpr index_t operator[](int i) const noexcept { return sizes_[static_cast<std::size_t>(i)]; }

  /// The last size, and the product of all in front of it: what an op on rows sees of a tensor of
  /// any rank, as PyTorch's layers do. A scalar is one row of one; a vector is one row.
  constexpr index_t cols() const noexcept { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }
  constexpr index_t rows() const noexcept {
    index_t rows = 1;
    for (int i = 0; i + 1 < rank_; ++i) rows *= (*this)[i];
    return rows;
  }

  /// This shape with another last size: (B, T, I) becomes (B, T, O). Of rank 1 or more.
  constexpr Shape with_cols(index_t cols) const {
    std::array<index_t, kMaxRank> sizes = sizes_;
    sizes[static_cast<std::size_t>(rank_ - 1)] = cols;
    return Shape(sizes.cbegin(), sizes.cbegin() + rank_);
  }

  friend constexpr bool operator==(const Shape&, const Shape&) = default;

  /// As PyTorch prints it, without "torch.Size": "(10, 784)", "(784,)", "()".
  std::string to_string() const {
    std::string text = "(";
    for (int i = 0; i < rank_; ++i) {
      if (i > 0) text += ", ";
      text += std::to_string((*this)[i]);
    }
    return text + (rank_ == 1 ? ",)" : ")");
  }

 private:
  std::array<index_t, kMaxRank> sizes_{};
  int rank_ = 0;
  index_t numel_ = 1;
};

}  // namespace lora::inline v0
