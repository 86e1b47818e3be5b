// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <lora/detail/number_text.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/pass_counter.hpp>
#include <lora/ops/dropout.hpp>

namespace lora::inline v0 {

/// y = x ∘ mask / (1 - p) in training, y = x in eval()            x, y: any shape
///
/// Each forward pass has a mask of its own, which depends on the seed, the stream and the number of
/// passes before, not on the device nor on the number of threads. Layers of one model that share a
/// seed need streams of their own.
template <class T>
class Dropout final : public Module<T> {
 public:
  /// Throws ValueError unless 0 <= p < 1.
  Dropout(double p, std::uint64_t seed, std::uint64_t stream = 0)
      : p_(p), seed_(seed), stream_(stream) {
    detail::dropout_mask("Dropout", p, key(0));
  }

  double p() const noexcept { return p_; }

  std::string to_string() const override { return "Dropout(p=" + detail::number_text(p_) + ")"; }
  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Dropout>(*this); }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    if (p_ == 0 || !this->training()) {
      saved.output.resize({0});  // tells the backward pass
      return x;
    }
    passes_.count(saved);
    ops::dropout(x, saved.output, p_, key(saved.random_offset));
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (!dx) return;
    if (saved.output.empty()) {
      *dx = dy;
    } else {
      ops::dropout(dy, *dx, p_, key(saved.random_offset));
    }
  }

  DropoutKey key(std::uint64_t offset) const { return {seed_, stream_, offset}; }

  double p_;
  std::uint64_t seed_, stream_;
  mutable detail::PassCounter passes_;
};

}  // namespace lora::inline v0
