// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0 {

/// Modules one after the other, each with a name that begins the paths of its parameters.
template <class T>
class Sequential final : public Module<T> {
 public:
  /// Appends a layer, given by value or shared with others. Throws ValueError on a name that is
  /// empty, holds a dot, or is taken.
  template <std::derived_from<Module<T>> Layer>
  Sequential& add(std::string name, Layer layer) {
    return add(std::move(name), std::make_shared<Layer>(std::move(layer)));
  }

  template <std::derived_from<Module<T>> Layer>
  Sequential& add(std::string name, std::shared_ptr<Layer> layer) {
    if (name.empty() || name.find('.') != std::string::npos) {
      throw ValueError("Sequential::add: \"" + name + "\" is no name: it must be non-empty and " +
                       "hold no dot");
    }
    for (const Child<T>& child : children_) {
      if (child.name == name) {
        throw ValueError("Sequential::add: there already is a child named \"" + name + "\"");
      }
    }
    children_.push_back({std::move(name), std::move(layer)});
    return *this;
  }

  std::span<Child<T>> children() override { return children_; }

  std::string to_string() const override {
    std::string text = "Sequential(";
    for (const Child<T>& child : children_) {
      text +=
          (&child == children_.data() ? "" : ", ") + child.name + ": " + child.module->to_string();
    }
    return text + ")";
  }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    saved.children.resize(children_.size());
    const Tensor<T>* output = &x;
    for (std::size_t i = 0; i < children_.size(); ++i) {
      output = &children_[i].module->forward(*output, saved.children[i]);
    }
    return *output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
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
      children_[i].module->backward(*gradient, saved.children[i], input_gradient);
      gradient = input_gradient;
    }
    if (dx && children_.empty()) *dx = dy;
  }

  std::vector<Child<T>> children_;
};

}  // namespace lora::inline v0
