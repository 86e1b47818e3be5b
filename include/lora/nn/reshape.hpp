// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>

#include <lora/cpu/simd.hpp>
#include <lora/error.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0::detail {

template <class T>
void copy_as(const Tensor<T>& from, const Shape& shape, Tensor<T>& to) {
  to.resize(shape, from.device());
  copy_bytes(to.data(), to.device(), from.data(), from.device(),
             static_cast<std::size_t>(from.numel()) * sizeof(T));
}

/// `rows`, then the sizes of an item.
inline Shape batch_of(index_t rows, const Shape& item) {
  std::array<index_t, Shape::kMaxRank> sizes{rows};
  for (int i = 0; i < item.rank(); ++i) sizes[static_cast<std::size_t>(i + 1)] = item[i];
  return Shape(sizes.begin(), sizes.begin() + item.rank() + 1);
}

/// The number of elements of an item: of all sizes but the first.
inline index_t item_size(const Shape& shape) {
  index_t size = 1;
  for (int i = 1; i < shape.rank(); ++i) size *= shape[i];
  return size;
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_cannot_reshape(const std::string& layer,
                                                                const Shape& x) {
  throw ShapeError(layer + ": x is " + x.to_string() + ", whose items do not have that shape's " +
                   "number of elements");
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Gives each item of a batch another shape, as torch.nn.Unflatten(1, …) does: with {1, 28, 28},
/// rows of 784 pixels (N, 784) become images (N, 1, 28, 28).
template <class T>
class Reshape final : public Module<T> {
 public:
  /// `item`: the sizes behind the first. Throws ShapeError on more than three, or a negative one.
  explicit Reshape(std::initializer_list<index_t> item) : item_(item) {
    if (item_.rank() == Shape::kMaxRank) {
      throw ShapeError("Reshape: the shape of an item is " + item_.to_string() +
                       ", at most three sizes fit behind that of the batch");
    }
  }

  /// "Reshape(1, 28, 28)"
  std::string to_string() const override {
    std::string text = "Reshape(";
    for (int i = 0; i < item_.rank(); ++i) text += (i ? ", " : "") + std::to_string(item_[i]);
    return text + ")";
  }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Reshape>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    if (x.shape().rank() == 0 || detail::item_size(x.shape()) != item_.numel()) {
      detail::throw_cannot_reshape(to_string(), x.shape());
    }
    detail::copy_as(x, detail::batch_of(x.dim(0), item_), saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) detail::copy_as(dy, saved.input->shape(), *dx);
  }

  Shape item_;
};

/// Makes a row of each item of a batch: (N, C, H, W) becomes (N, C·H·W).
template <class T>
class Flatten final : public Module<T> {
 public:
  std::string to_string() const override { return "Flatten()"; }
  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Flatten>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    if (x.shape().rank() == 0) throw ShapeError("Flatten: x is (), it has no batch");
    detail::copy_as(x, {x.dim(0), detail::item_size(x.shape())}, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) detail::copy_as(dy, saved.input->shape(), *dx);
  }
};

}  // namespace lora::inline v0
