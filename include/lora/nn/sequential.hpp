// SPDX-License-Identifier: MIT
#pragma once

#include <lora/nn/container.hpp>

namespace lora::inline v0 {

/// Modules one after the other, each with a name that begins the paths of its parameters. A ReLU
/// before or behind a layer that fuses_relu() costs no pass of its own.
template <class T>
class Sequential final : public Container<T, Sequential<T>> {
 public:
  static constexpr const char* kName = "Sequential";

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    return detail::Chain<T>(this->children_).forward(x, saved);
  }
  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    detail::Chain<T>(this->children_).backward(dy, saved, dx);
  }
};

}  // namespace lora::inline v0
