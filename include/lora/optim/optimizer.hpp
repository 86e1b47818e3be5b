// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/optim/parameter_group.hpp>
#include <lora/parameter.hpp>

namespace lora::inline v0 {

/// What optimizers share: which parameters they update. The parameters must outlive the optimizer.
template <class T>
class Optimizer : private LinearBackward<T> {
 public:
  explicit Optimizer(std::vector<Parameter<T>*> parameters)
      : parameters_(std::move(parameters)), ratios_(parameters_.size()) {}

  /// Throws ValueError on an lr_ratio that is not above 0, on a weight_decay_ratio below 0 and on a
  /// parameter that is in two groups.
  explicit Optimizer(std::span<const ParameterGroup<T>> groups) {
    for (const ParameterGroup<T>& group : groups) {
      if (!(group.lr_ratio > 0)) {
        throw ValueError("Optimizer: a group's lr_ratio is " + std::to_string(group.lr_ratio) +
                         ", expected above 0");
      }
      if (!(group.weight_decay_ratio >= 0)) {
        throw ValueError("Optimizer: a group's weight_decay_ratio is " +
                         std::to_string(group.weight_decay_ratio) + ", expected at least 0");
      }
      for (Parameter<T>* parameter : group.parameters) {
        if (index_of(*parameter) < parameters_.size()) {
          throw ValueError("Optimizer: a parameter of shape " +
                           parameter->value.shape().to_string() +
                           " is in the groups twice, expected once");
        }
        parameters_.push_back(parameter);
        ratios_.push_back({group.lr_ratio, group.weight_decay_ratio});
      }
    }
  }

  virtual ~Optimizer() = default;

  /// Applies the gradient of every trainable parameter that has one, then clears all gradients.
  ///
  /// Backward passes add to the gradients, so a batch too large for memory may come in k equal
  /// parts: with each part's mean loss divided by k, ops::scale(dy, 1.0 / k), k calls of backward()
  /// and one step() are the step of the whole batch.
  void step() {
    for (Parameter<T>* parameter : parameters_) {
      if (parameter->trainable && !parameter->grad.empty()) update(*parameter);
    }
    zero_grad();
  }

  /// module.backward(dy, saved, dx) and step(), with the same result to the bit and less traffic:
  /// the weight of a Linear is visited once, for the gradient of its input, its own gradient, which
  /// is formed in registers, and the update; an adapter is updated with its layer's pass. Throws
  /// ValueError when a weight is used twice in the module: its second use would see the updated
  /// one. What looks at all gradients before the step, as clip_grad_norm does, comes too late here.
  void backward_and_step(Module<T>& module, const Tensor<T>& dy, Saved<T>& saved,
                         Tensor<T>* dx = nullptr) {
    updated_.assign(parameters_.size(), false);
    const struct Attached {
      std::vector<Parameter<T>*>& parameters;
      Attached(std::vector<Parameter<T>*>& parameters, LinearBackward<T>* optimizer)
          : parameters(parameters) {
        for (Parameter<T>* parameter : parameters) parameter->update_in_backward = optimizer;
      }
      ~Attached() {
        for (Parameter<T>* parameter : parameters) parameter->update_in_backward = nullptr;
      }
    } attached(parameters_, this);
    module.backward(dy, saved, dx);
    step();
  }

  /// Drops the gradients unused.
  void zero_grad() {
    for (Parameter<T>* parameter : parameters_) parameter->grad.clear();
  }

 protected:
  template <class Visit>
  void for_each_trainable(const Visit& visit) const {
    for (const Parameter<T>* parameter : parameters_) {
      if (parameter->trainable) visit(*parameter);
    }
  }

  std::size_t index_of(const Parameter<T>& parameter) const {
    return static_cast<std::size_t>(std::find(parameters_.begin(), parameters_.end(), &parameter) -
                                    parameters_.begin());
  }

  std::size_t parameter_count() const { return parameters_.size(); }

  /// What a parameter's group multiplies the options with.
  struct Ratios {
    double lr = 1, weight_decay = 1;
    bool operator==(const Ratios&) const = default;
  };
  const Ratios& ratios_of(const Parameter<T>& parameter) const {
    return ratios_[index_of(parameter)];
  }

 private:
  virtual void update(Parameter<T>& parameter) = 0;

  /// What LinearBackward asks for, of parameters that are this optimizer's; `bias` may be given a
  /// gradient instead of the update.
  virtual void update_linear(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                             const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) = 0;
  virtual void update_lora_linear(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b,
                                  const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& h,
                                  Tensor<T>& dh, Tensor<T>* dx, double scale,
                                  const Tensor<T>* relu_output) = 0;

  void linear_backward(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                       const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) final {
    require_first_use(weight);
    if (bias && !(bias->can_update_in_backward() && bias->update_in_backward == this)) {
      if (bias->trainable) bias->grad.accumulate_rows(dy);
      bias = nullptr;
    }
    update_linear(weight, bias, dy, x, dx, relu_output);
  }

  void lora_linear_backward(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b,
                            const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& h,
                            Tensor<T>& dh, Tensor<T>* dx, double scale,
                            const Tensor<T>* relu_output) final {
    require_first_use(a);
    update_lora_linear(w, a, b, dy, x, h, dh, dx, scale, relu_output);
  }

  void require_first_use(const Parameter<T>& weight) {
    const std::size_t index = index_of(weight);
    if (updated_[index]) {
      throw ValueError("backward_and_step: a weight of shape " + weight.value.shape().to_string() +
                       " is used twice; call backward() and step()");
    }
    updated_[index] = true;
  }

  std::vector<Parameter<T>*> parameters_;
  std::vector<Ratios> ratios_;
  std::vector<bool> updated_;  // in this backward pass
};

}  // namespace lora::inline v0
