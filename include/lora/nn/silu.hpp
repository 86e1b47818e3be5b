// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/nn/module.hpp>
#include <lora/ops/silu.hpp>

namespace lora::inline v0 {

/// y = x σ(x)                                                x, y: any shape
template <class T>
class SiLU final : public Module<T> {
 public:
  std::string to_string() const override { return "SiLU()"; }
  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<SiLU>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::silu(x, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) ops::silu_backward(*saved.input, dy, *dx);
  }
};

}  // namespace lora::inline v0
