// SPDX-License-Identifier: MIT
#pragma once

#include <lora/detail/dispatch.hpp>
#include <lora/nn/container.hpp>
#include <lora/ops/elementwise.hpp>

namespace lora::inline v0 {

/// y = x + f(x)                                              x, y: any shape
///
/// f is the children one after the other, as in a Sequential; it keeps the shape. He et al., "Deep
/// Residual Learning for Image Recognition", arXiv 1512.03385. Errors: ShapeError where f gives
/// another shape.
template <class T>
class Residual final : public Container<T, Residual<T>> {
 public:
  static constexpr const char* kName = "Residual";

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    const Tensor<T>& f = detail::Chain<T>(this->children_).forward(x, saved);
    detail::require_same_shape("Residual", "x", x, "f(x)", f);
    saved.output = x;
    ops::add(f, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    detail::Chain<T>(this->children_).backward(dy, saved, dx);
    if (dx) ops::add(dy, *dx);
  }
};

}  // namespace lora::inline v0
