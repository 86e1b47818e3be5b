// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/cpu/dot.hpp>
#include <lora/cpu/gemm.hpp>
#include <lora/cpu/low_rank_merge.hpp>
#include <lora/cpu/stored_float.hpp>
#include <lora/detail/encode_elements.hpp>
#include <lora/io/file.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// What an adapter does to a matrix: W (rows, cols) becomes W + s L P and, with DoRA, each of its
/// outputs, which are rows or columns, is given the length m.
template <class T>
struct LowRankUpdate {
  index_t rows, cols, rank;
  cpu::GemmOperand<T> left, right;  // (rows, R), (R, cols)
  double scale;
  const T* magnitude = nullptr;  // of DoRA, else null
  bool outputs_are_columns = false;
};

/// Lets go of `part` of a mapped file, of the pages that it begins and ends in, and of those in
/// front that came with it: a page that is touched brings those around it, as many as the system
/// keeps together, some of which may have been let go already. What is still needed comes back.
inline void release_pages(std::span<const std::byte> file, std::span<const std::byte> part) {
  constexpr std::size_t kPage = 4096, kAround = 2 << 20;
  const auto offset = static_cast<std::size_t>(part.data() - file.data());
  const std::size_t begin = offset - std::min(offset, kAround);
  const std::size_t end = std::min(file.size(), offset + part.size() + kPage);
  MappedBytes::release(file.subspan(begin, end - begin));
}

/// The elements of a tensor before an update, some rows at a time, of the type they are stored as.
template <class T>
class StoredRows {
 public:
  /// As they lie in a file, whose bytes are let go by release().
  StoredRows(std::span<const std::byte> file, std::span<const std::byte> tensor,
             std::size_t row_bytes)
      : file_(file), tensor_(tensor), row_bytes_(row_bytes) {}

  /// Those of another tensor, rounded to `dtype`.
  StoredRows(const Tensor<T>& values, std::string dtype, std::size_t row_bytes)
      : values_(&values), dtype_(std::move(dtype)), row_bytes_(row_bytes) {}

  std::size_t row_bytes() const noexcept { return row_bytes_; }

  /// `memory` may be made to hold them.
  std::span<const std::byte> read(index_t first, index_t count,
                                  std::vector<std::byte>& memory) const {
    const auto begin = static_cast<std::size_t>(first) * row_bytes_;
    const auto size = static_cast<std::size_t>(count) * row_bytes_;
    if (!values_) return tensor_.subspan(begin, size);
    const std::size_t width = dtype_width();
    memory.resize(size);
    round_elements(dtype_, values_->span().subspan(begin / width, size / width), std::span(memory));
    return memory;
  }

  void release(index_t first, index_t count) const {
    if (values_) return;
    release_pages(file_, tensor_.subspan(static_cast<std::size_t>(first) * row_bytes_,
                                         static_cast<std::size_t>(count) * row_bytes_));
  }

 private:
  std::size_t dtype_width() const { return dtype_ == "F64" ? 8 : dtype_ == "F32" ? 4 : 2; }

  std::span<const std::byte> file_, tensor_;
  const Tensor<T>* values_ = nullptr;
  std::string dtype_;
  std::size_t row_bytes_;
};

/// Changes the rows of one tensor. Several threads may call merge() at a time.
class TensorMerge {
 public:
  virtual ~TensorMerge() = default;

  /// The rows `from`, the first of which is row `first`, changed. False where a finite element
  /// would be no more.
  virtual bool merge(index_t first, std::span<const std::byte> from,
                     std::span<std::byte> to) const = 0;
};

/// Whether all elements are finite that were so in `before`; the types are equal.
template <class Stored>
bool stays_finite(std::span<const std::byte> before, std::span<const std::byte> after) {
  for (std::size_t i = 0; i < after.size(); i += Stored::kBytes) {
    if (!std::isfinite(Stored::read(after.data() + i)) &&
        std::isfinite(Stored::read(before.data() + i))) {
      return false;
    }
  }
  return true;
}

/// Calls f with the type, such as cpu::StoredF16, of a dtype that is_floating_point() takes.
template <class F>
auto with_stored_type(std::string_view dtype, const F& f) {
  if (dtype == "F64") return f(cpu::StoredF64{});
  if (dtype == "F32") return f(cpu::StoredF32{});
  if (dtype == "F16") return f(cpu::StoredF16{});
  return f(cpu::StoredBf16{});
}

inline bool is_finite(std::string_view dtype, std::span<const std::byte> elements) {
  return with_stored_type(dtype, [&]<class Stored>(Stored) {
    for (std::size_t i = 0; i < elements.size(); i += Stored::kBytes) {
      if (!std::isfinite(Stored::read(elements.data() + i))) return false;
    }
    return true;
  });
}

template <class T, class Stored>
class TypedTensorMerge final : public TensorMerge {
 public:
  TypedTensorMerge(const LowRankUpdate<T>& update, const StoredRows<T>& source) : update_(update) {
    cpu::run_simd<cpu::PackRightCore>(update.right, update.rank, update.cols, &right_);
    if (update.magnitude && update.outputs_are_columns) find_column_gains(source);
  }

  bool merge(index_t first, std::span<const std::byte> from,
             std::span<std::byte> to) const override {
    const index_t count = rows_in(from);
    bool overflows = false;
    if (update_.magnitude) {
      for (index_t row = 0; row < count; row += kGroup) {
        const index_t rows = std::min(kGroup, count - row);
        merge_dora(first + row, rows, from.data() + row * row_bytes(),
                   to.data() + row * row_bytes(), overflows);
      }
    } else {
      const std::vector<Wide> left = left_rows(first, count);
      cpu::run_simd<cpu::MergeRowsCore<Stored, Stored>>(
          cpu::MergeRows<Wide>{from.data(), to.data(), count, update_.cols, left.data(),
                               right_.data(), update_.rank},
          &overflows);
    }
    return !overflows || stays_finite<Stored>(from, to);
  }

 private:
  using Wide = typename Stored::Wide;

  // The rows of W that are changed before they are scaled: a multiple of what a tile has.
  static constexpr index_t kGroup = 12;

  index_t row_bytes() const { return update_.cols * index_t{Stored::kBytes}; }
  index_t rows_in(std::span<const std::byte> bytes) const {
    return static_cast<index_t>(bytes.size()) / row_bytes();
  }

  // Rows of s L.
  std::vector<Wide> left_rows(index_t first, index_t count) const {
    std::vector<Wide> left(static_cast<std::size_t>(count * update_.rank));
    std::size_t i = 0;
    for (index_t row = first; row < first + count; ++row) {
      for (index_t r = 0; r < update_.rank; ++r, ++i) {
        left[i] = static_cast<Wide>(update_.scale * double{*update_.left.at(row, r)});
      }
    }
    return left;
  }

  // Rows of W + s L P, not rounded.
  std::vector<Wide> changed_rows(index_t first, index_t count, const std::byte* from) const {
    const std::vector<Wide> left = left_rows(first, count);
    std::vector<Wide> changed(static_cast<std::size_t>(count * update_.cols));
    bool ignored = false;
    cpu::run_simd<cpu::MergeRowsCore<Stored, cpu::StoredNumber<Wide, Wide>>>(
        cpu::MergeRows<Wide>{from, reinterpret_cast<std::byte*>(changed.data()), count,
                             update_.cols, left.data(), right_.data(), update_.rank},
        &ignored);
    return changed;
  }

  // m / ‖·‖; 0 for an output that is 0, as ops::dora_gains.
  Wide gain(index_t output, double square) const {
    if (square == 0) return 0;
    return static_cast<Wide>(double{update_.magnitude[output]} / std::sqrt(square));
  }

  void find_column_gains(const StoredRows<T>& source) {
    std::vector<double> squares(static_cast<std::size_t>(update_.cols));
    std::vector<std::byte> memory;
    for (index_t row = 0; row < update_.rows; row += kGroup) {
      const index_t rows = std::min(kGroup, update_.rows - row);
      const std::vector<Wide> changed =
          changed_rows(row, rows, source.read(row, rows, memory).data());
      cpu::run_simd<cpu::ColumnSquaresCore>(changed.data(), rows, update_.cols, squares.data());
      source.release(row, rows);
    }
    column_gains_.reserve(squares.size());
    for (const double square : squares) {
      column_gains_.push_back(gain(static_cast<index_t>(column_gains_.size()), square));
    }
  }

  void merge_dora(index_t first, index_t count, const std::byte* from, std::byte* to,
                  bool& overflows) const {
    const std::vector<Wide> changed = changed_rows(first, count, from);
    Wide row_gains[kGroup];
    for (index_t row = 0; row < count && !update_.outputs_are_columns; ++row) {
      const Wide* const values = changed.data() + row * update_.cols;
      double square;
      cpu::run_simd<cpu::DotCore>(values, values, update_.cols, &square);
      row_gains[row] = gain(first + row, square);
    }
    const Wide* const gains = update_.outputs_are_columns ? column_gains_.data() : row_gains;
    cpu::run_simd<cpu::ScaleRowsCore<Stored>>(changed.data(), to, count, update_.cols, gains,
                                              update_.outputs_are_columns, &overflows);
  }

  LowRankUpdate<T> update_;
  std::vector<Wide> right_;
  std::vector<Wide> column_gains_;
};

/// `dtype` is one that is_floating_point() takes.
template <class T>
std::unique_ptr<TensorMerge> make_tensor_merge(std::string_view dtype,
                                               const LowRankUpdate<T>& update,
                                               const StoredRows<T>& source) {
  return with_stored_type(dtype, [&]<class Stored>(Stored) -> std::unique_ptr<TensorMerge> {
    return std::make_unique<TypedTensorMerge<T, Stored>>(update, source);
  });
}

}  // namespace lora::inline v0::detail
