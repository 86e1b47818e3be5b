// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <vector>

#include <lora/nn/container.hpp>
#include <lora/nn/sequential.hpp>

namespace lora::inline v0 {

/// A Sequential, with the same paths and the same bits, that keeps nothing between forward and
/// backward but its input and its output: the backward pass runs the forward pass again. That costs
/// a forward pass and saves the memory of all that stands in it, for each Recompute of a model but
/// the one whose backward pass is running.
///
/// Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174. Layers that draw
/// random numbers draw the same ones again (Saved::repeats). What the children change in themselves
/// while they run, they change twice. Memory is allocated and given back in each pass, so a Graph
/// cannot record one.
template <class T>
class Recompute final : public Container<T, Recompute<T>> {
 public:
  static constexpr const char* kName = "Recompute";

  Recompute() = default;

  /// In place of a Sequential, with which it shares the children.
  explicit Recompute(Sequential<T> block) {
    const std::span<Child<T>> children = block.children();
    this->children_.assign(children.begin(), children.end());
  }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    set_repeats(saved.children, saved.repeats);
    saved.output = detail::Chain<T>(this->children_).forward(x, saved);
    release(saved.children);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (!dx && !this->has_trainable_parameters()) return;
    set_repeats(saved.children, true);
    const detail::Chain<T> chain(this->children_);
    chain.forward(*saved.input, saved);
    chain.backward(dy, saved, dx);
    release(saved.children);
  }

  static void set_repeats(std::vector<Saved<T>>& all, bool repeats) {
    for (Saved<T>& saved : all) {
      saved.repeats = repeats;
      set_repeats(saved.children, repeats);
    }
  }

  // What stays says where in their random numbers the layers were.
  static void release(std::vector<Saved<T>>& all) {
    for (Saved<T>& saved : all) {
      saved.output = Tensor<T>();
      saved.output_gradient = Tensor<T>();
      saved.intermediates.clear();
      release(saved.children);
    }
  }
};

}  // namespace lora::inline v0
