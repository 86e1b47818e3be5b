// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/container.hpp>
#include <lora/ops/copy_columns.hpp>
#include <lora/ops/elementwise.hpp>

namespace lora::inline v0 {

enum class ParallelCombine {
  sum,          ///< all outputs have one shape
  concatenate,  ///< side by side along the last size, in the order of the children
};

/// y = f₁(x) + f₂(x) + …, or the outputs side by side; every child gets the same x.
/// dx = Σ dxᵢ
///
/// Errors: ValueError without a child, ShapeError where the outputs do not fit together.
template <class T>
class Parallel final : public Container<T, Parallel<T>> {
 public:
  static constexpr const char* kName = "Parallel";

  explicit Parallel(ParallelCombine combine = ParallelCombine::sum) : combine_(combine) {}

  ParallelCombine combine() const noexcept { return combine_; }

  std::string to_string() const override {
    const bool sums = combine_ == ParallelCombine::sum;
    return std::string("Parallel(") + (sums ? "sum; " : "concatenate; ") + this->list_children() +
           ")";
  }

 private:
  // The tensors of Saved::intermediates. The widths, whole numbers on the CPU, are those of the
  // outputs, which only the children know.
  enum : std::size_t { kWidths, kInputGradient, kCount };

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    const std::size_t count = this->children_.size();
    if (count == 0) throw ValueError("Parallel: there are no children");
    saved.children.resize(count);
    saved.intermediates.resize(kCount);
    std::vector<const Tensor<T>*> outputs(count);
    for (std::size_t i = 0; i < count; ++i) {
      outputs[i] = &this->children_[i].module->forward(x, saved.children[i]);
    }
    if (combine_ == ParallelCombine::sum) {
      saved.output = *outputs[0];
      for (std::size_t i = 1; i < count; ++i) ops::add(*outputs[i], saved.output);
      return saved.output;
    }
    Tensor<T>& widths = saved.intermediates[kWidths];
    widths.resize({static_cast<index_t>(count)});
    index_t width = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const index_t cols = outputs[i]->matrix().cols;
      widths[static_cast<index_t>(i)] = static_cast<T>(cols);
      width += cols;
    }
    saved.output.resize(outputs[0]->shape().with_cols(width), x.device());
    index_t first = 0;
    for (const Tensor<T>* output : outputs) {
      ops::put_columns(*output, saved.output, first);
      first += output->cols();
    }
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    index_t first = 0;
    bool is_first = true;  // the first gradient of the input is written, the others are added
    for (std::size_t i = 0; i < this->children_.size(); ++i) {
      Module<T>& module = *this->children_[i].module;
      Saved<T>& child = saved.children[i];
      const bool concatenates = combine_ == ParallelCombine::concatenate;
      const index_t width =
          concatenates ? static_cast<index_t>(saved.intermediates[kWidths][static_cast<index_t>(i)])
                       : 0;
      if (dx || module.has_trainable_parameters()) {
        if (concatenates) ops::take_columns(dy, child.output_gradient, first, width);
        Tensor<T>* input_gradient = is_first || !dx ? dx : &saved.intermediates[kInputGradient];
        module.backward(concatenates ? child.output_gradient : dy, child, input_gradient);
        if (input_gradient != dx) ops::add(*input_gradient, *dx);
        is_first = false;
      }
      first += width;
    }
  }

  ParallelCombine combine_;
};

}  // namespace lora::inline v0
