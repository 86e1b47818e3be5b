// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/relu.hpp>

namespace lora::inline v0 {

/// What modules made of named children share. Each name begins the paths of the child's parameters.
/// Self, the module that derives from this, names itself in Self::kName.
template <class T, class Self>
class Container : public Module<T> {
 public:
  /// Appends a layer, given by value or shared with others. Throws ValueError on a name that is
  /// empty, holds a dot, or is taken.
  template <std::derived_from<Module<T>> Layer>
  Self& add(std::string name, Layer layer) {
    return add(std::move(name), std::make_shared<Layer>(std::move(layer)));
  }

  template <std::derived_from<Module<T>> Layer>
  Self& add(std::string name, std::shared_ptr<Layer> layer) {
    const std::string where = std::string(Self::kName) + "::add: ";
    if (name.empty() || name.find('.') != std::string::npos) {
      throw ValueError(where + "\"" + name + "\" is no name: it must be non-empty and hold no dot");
    }
    for (const Child<T>& child : children_) {
      if (child.name == name) {
        throw ValueError(where + "there already is a child named \"" + name + "\"");
      }
    }
    children_.push_back({std::move(name), std::move(layer)});
    return static_cast<Self&>(*this);
  }

  std::span<Child<T>> children() override { return children_; }

  std::shared_ptr<Module<T>> clone() const override {
    auto copy = std::make_shared<Self>(static_cast<const Self&>(*this));
    for (Child<T>& child : copy->children_) child.module = child.module->clone();
    return copy;
  }

  std::string to_string() const override {
    return std::string(Self::kName) + "(" + list_children() + ")";
  }

 protected:
  /// "linear1: Linear(784, 1000), relu1: ReLU()"
  std::string list_children() const {
    std::string text;
    for (const Child<T>& child : children_) {
      text += (text.empty() ? "" : ", ") + child.name + ": " + child.module->to_string();
    }
    return text;
  }

  std::vector<Child<T>> children_;
};

namespace detail {

/// Children one after the other, each with its Saved in saved.children. A ReLU before or behind a
/// layer that fuses_relu() costs no pass of its own.
template <class T>
class Chain {
 public:
  explicit Chain(std::span<const Child<T>> children) : children_(children) {}

  const Tensor<T>& forward(const Tensor<T>& x, Saved<T>& saved) const {
    saved.children.resize(children_.size());
    const Tensor<T>* output = &x;
    for (std::size_t i = 0; i < children_.size(); ++i) {
      Saved<T>& child = saved.children[i];
      if (relu_is_fused(i)) {
        child.input = output;  // the layer in front has applied it
        continue;
      }
      child.activation = relu_is_fused(i + 1) ? Activation::relu : Activation::none;
      child.input_is_relu = i > 0 && is_relu(i - 1) && children_[i].module->fuses_relu();
      output = &children_[i].module->forward(*output, child);
    }
    return *output;
  }

  void backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) const {
    // Below the first child that learns, nobody needs a gradient but the caller.
    std::size_t first = 0;
    if (!dx) {
      while (first < children_.size() && !children_[first].module->has_trainable_parameters()) {
        ++first;
      }
    }
    const Tensor<T>* gradient = &dy;
    for (std::size_t i = children_.size(); i-- > first;) {
      Tensor<T>* input_gradient = i > first ? &saved.children[i - 1].output_gradient : dx;
      if (i + 1 < children_.size() && saved.children[i + 1].input_is_relu) {
        // A ReLU, and the layer behind it has taken the gradient through it.
        if (input_gradient == dx && dx) *dx = *gradient;
        continue;
      }
      children_[i].module->backward(*gradient, saved.children[i], input_gradient);
      gradient = input_gradient;
    }
    if (dx && children_.empty()) *dx = dy;
  }

 private:
  bool is_relu(std::size_t i) const {
    return dynamic_cast<const ReLU<T>*>(children_[i].module.get()) != nullptr;
  }

  // Whether the i-th child is a ReLU that the layer in front of it applies.
  bool relu_is_fused(std::size_t i) const {
    return i > 0 && i < children_.size() && is_relu(i) && children_[i - 1].module->fuses_relu();
  }

  std::span<const Child<T>> children_;
};

}  // namespace detail

}  // namespace lora::inline v0
