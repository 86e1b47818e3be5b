// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/activation.hpp>
#include <lora/detail/function_ref.hpp>
#include <lora/error.hpp>
#include <lora/nn/gradient_accumulation.hpp>
#include <lora/parameter.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// What a forward pass leaves for the backward pass. It belongs to the caller, so a layer holds
/// nothing but its parameters, and one layer can be run on several inputs at once. Used again with
/// the same shapes, it allocates nothing.
template <class T>
struct Saved {
  const Tensor<T>* input = nullptr;  ///< what forward was given; must live until backward
  Tensor<T> output;
  Tensor<T> output_gradient;             ///< kept here by a container, between two children
  std::vector<Tensor<T>> intermediates;  ///< whatever else the layer wants to keep
  std::uint64_t random_offset = 0;       ///< where in its random numbers the layer was
  std::shared_ptr<const Tensor<std::int32_t>> row_ids;  ///< the adapter of each row, if they vary
  bool repeats = false;  ///< whether the next forward pass is to draw those numbers again

  /// What a container asks of a layer that fuses_relu(): to apply the ReLU that follows to its
  /// output, and to take the gradient of its input through the ReLU that comes before.
  Activation activation = Activation::none;
  bool input_is_relu = false;

  /// What adds to a linear layer's gradients; set by Module::backward.
  LinearBackward<T>* accumulation = nullptr;

  std::vector<Saved> children;
};

template <class T>
class Module;

template <class T>
struct Child {
  std::string name;
  std::shared_ptr<Module<T>> module;
};

template <class T>
struct NamedParameter {
  std::string name;  ///< the dotted path: "linear1.weight"
  Parameter<T>* parameter;
};

/// A layer, or layers put together. A layer of your own derives from this, implements do_forward
/// and do_backward, and shows its parameters in own_parameters.
template <class T>
class Module {
 public:
  using ParameterVisitor = detail::FunctionRef<void(const char* name, Parameter<T>&)>;
  using BufferVisitor = detail::FunctionRef<void(Tensor<T>&)>;

  virtual ~Module() = default;

  /// The output, which lies in `saved` (or is `x`) and stays valid until the next forward with the
  /// same `saved`. `x` must live until backward, so a temporary is refused.
  const Tensor<T>& forward(const Tensor<T>& x, Saved<T>& saved) const {
    saved.input = &x;
    return do_forward(x, saved);
  }
  const Tensor<T>& forward(Tensor<T>&& x, Saved<T>& saved) const = delete;

  /// The output alone, where no backward pass will follow.
  Tensor<T> forward(const Tensor<T>& x) const {
    Saved<T> saved;
    return forward(x, saved);
  }

  /// Adds to the gradient of every trainable parameter, given the gradient of the output, and
  /// writes the gradient of the input to `dx` unless it is null. Throws ValueError when `saved` has
  /// seen no forward pass.
  void backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx = nullptr) {
    if (!saved.input) throw ValueError(to_string() + ": backward before any forward");
    saved.accumulation = &detail::GradientAccumulation<T>::instance();
    do_backward(dy, saved, dx);
  }

  /// "Linear(784, 1000)"
  virtual std::string to_string() const = 0;

  /// Whether this layer does what Saved::activation and Saved::input_is_relu ask for.
  virtual bool fuses_relu() const { return false; }

  /// Shows the parameters of this module itself, without those of its children.
  virtual void own_parameters(ParameterVisitor) {}

  /// Shows the tensors of this module itself that move with it but are not learned.
  virtual void own_buffers(BufferVisitor) {}

  virtual std::span<Child<T>> children() { return {}; }

  /// A copy that shares nothing with this module; what stands in it twice becomes two. Throws
  /// ValueError where a layer has no clone().
  virtual std::shared_ptr<Module<T>> clone() const {
    throw ValueError(to_string() + " cannot be copied: it has no clone()");
  }

  /// Whether layers that act differently in training, as dropout does, act as in training. They do
  /// until eval() says otherwise, as in PyTorch.
  bool training() const noexcept { return training_; }
  virtual void train(bool mode = true) {
    training_ = mode;
    for (const Child<T>& child : children()) child.module->train(mode);
  }
  void eval() { train(false); }

  /// All parameters, of the children too, by dotted path and in order. One that several modules
  /// share is there once, under its first path, as in PyTorch.
  std::vector<NamedParameter<T>> named_parameters() {
    std::vector<NamedParameter<T>> all;
    collect("", all);
    return all;
  }

  std::vector<Parameter<T>*> parameters() {
    std::vector<Parameter<T>*> all;
    for (const NamedParameter<T>& named : named_parameters()) all.push_back(named.parameter);
    return all;
  }

  bool has_trainable_parameters() {
    bool found = false;
    own_parameters([&](const char*, Parameter<T>& p) { found = found || p.trainable; });
    for (const Child<T>& child : children()) {
      found = found || child.module->has_trainable_parameters();
    }
    return found;
  }

  /// Moves every parameter to `device`. Gradients are dropped.
  void to(Device device) {
    for (Parameter<T>* parameter : parameters()) {
      if (parameter->value.device() != device) parameter->value = parameter->value.to(device);
      parameter->grad = {};
    }
    for_each_buffer([&](Tensor<T>& buffer) {
      if (buffer.device() != device) buffer = buffer.to(device);
    });
  }

  /// Calls visit(tensor) for the buffers of this module and of its children.
  void for_each_buffer(BufferVisitor visit) {
    own_buffers(visit);
    for (const Child<T>& child : children()) child.module->for_each_buffer(visit);
  }

 private:
  virtual const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const = 0;
  virtual void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) = 0;

  void collect(const std::string& prefix, std::vector<NamedParameter<T>>& all) {
    own_parameters([&](const char* name, Parameter<T>& p) {
      const bool is_known =
          std::any_of(all.begin(), all.end(),
                      [&](const NamedParameter<T>& named) { return named.parameter == &p; });
      if (!is_known) all.push_back({prefix + name, &p});
    });
    for (const Child<T>& child : children()) child.module->collect(prefix + child.name + ".", all);
  }

  bool training_ = true;
};

}  // namespace lora::inline v0
