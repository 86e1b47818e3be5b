// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/nn/module.hpp>
#include <lora/ops/relu.hpp>

namespace lora::inline v0 {

/// y = max(x, 0)                                             x, y: any shape
template <class T>
class ReLU final : public Module<T> {
 public:
  std::string to_string() const override { return "ReLU()"; }
  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<ReLU>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::relu(x, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    // The input is positive where the output is, also where a layer in front has applied the ReLU.
    if (dx) ops::relu_backward(*saved.input, dy, *dx);
  }
};

}  // namespace lora::inline v0
