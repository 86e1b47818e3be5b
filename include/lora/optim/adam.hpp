// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/ops/adam.hpp>
#include <lora/optim/optimizer.hpp>

namespace lora::inline v0 {

/// Adam with bias correction, as torch.optim.Adam; see ops/adam.hpp for the formula. Its memory,
/// two tensors a parameter, is taken at a parameter's first update: frozen ones cost nothing.
template <class T>
class Adam : public Optimizer<T> {
 public:
  explicit Adam(std::vector<Parameter<T>*> parameters, AdamOptions options = {})
      : Optimizer<T>(std::move(parameters)), options(options), states_(this->parameter_count()) {}

  /// Each group has its own multiples of options.lr and options.weight_decay. Throws as Optimizer
  /// does.
  explicit Adam(std::span<const ParameterGroup<T>> groups, AdamOptions options = {})
      : Optimizer<T>(groups), options(options), states_(this->parameter_count()) {}

  AdamOptions options;  ///< may be changed between steps

  /// The number of updates that the trainable parameters have had. Throws ValueError where that is
  /// not one number.
  std::int64_t common_step() const {
    std::int64_t step = -1;
    this->for_each_trainable([&](const Parameter<T>& parameter) {
      const std::int64_t own = states_[this->index_of(parameter)].step;
      if (step >= 0 && own != step) {
        throw ValueError("Adam: one parameter has had " + std::to_string(step) +
                         " updates, another " + std::to_string(own));
      }
      step = own;
    });
    return std::max<std::int64_t>(step, 0);
  }

  /// For steps in a captured graph, whose arguments are fixed: from now on updates find their
  /// scalars on the device, at of_step[*step - 1]. Null pointers end that.
  void read_scalars_at(const detail::AdamScalars* of_step, const std::int64_t* step) {
    on_device_ = {{}, of_step, step};
  }

  /// Counts updates of the trainable parameters that a graph has made.
  void add_steps(std::int64_t count) {
    this->for_each_trainable(
        [&](const Parameter<T>& parameter) { states_[this->index_of(parameter)].step += count; });
  }

 private:
  struct State : AdamState<T> {
    std::int64_t step = 0;
  };

  void update(Parameter<T>& parameter) override {
    State& state = state_of(parameter);
    const detail::AdamSchedule schedule = next_step(parameter);
    if (parameter.grad.is_factored()) {
      ops::adam_factored(parameter.grad.dy(), parameter.grad.x(), parameter.value, state, schedule);
    } else {
      ops::adam(parameter.grad.dense(), parameter.value, state, schedule);
    }
  }

  void update_linear(Parameter<T>& weight, Parameter<T>* bias, const Tensor<T>& dy,
                     const Tensor<T>& x, Tensor<T>* dx, const Tensor<T>* relu_output) override {
    State& state = state_of(weight);
    State* bias_state = bias ? &state_of(*bias) : nullptr;
    if (bias &&
        (bias_state->step != state.step || this->ratios_of(*bias) != this->ratios_of(weight))) {
      // Its step size or its decay is another one.
      bias->grad.accumulate_rows(dy);
      bias = nullptr;
    }
    const detail::AdamSchedule schedule = next_step(weight);
    if (bias) next_step(*bias);
    ops::linear_backward_adam(dy, x, weight.value, state, bias ? &bias->value : nullptr, bias_state,
                              dx, schedule, relu_output);
  }

  void update_lora_linear(const Tensor<T>& w, Parameter<T>& a, Parameter<T>& b, const Tensor<T>& dy,
                          const Tensor<T>& x, const Tensor<T>& h, Tensor<T>& dh, Tensor<T>* dx,
                          double scale, const Tensor<T>* relu_output) override {
    State& a_state = state_of(a);
    State& b_state = state_of(b);
    ops::lora_linear_backward_adam(dy, x, w, h, a.value, a_state, b.value, b_state, dh, dx, scale,
                                   next_step(a), next_step(b), relu_output);
  }

  detail::AdamSchedule next_step(const Parameter<T>& parameter) {
    const std::int64_t step = ++states_[this->index_of(parameter)].step;
    detail::AdamSchedule schedule =
        on_device_.of_step ? on_device_ : detail::adam_schedule(options, step);
    schedule.lr_ratio = this->ratios_of(parameter).lr;
    schedule.weight_decay_ratio = this->ratios_of(parameter).weight_decay;
    return schedule;
  }

  State& state_of(const Parameter<T>& parameter) {
    State& state = states_[this->index_of(parameter)];
    if (state.m.shape() != parameter.value.shape()) {
      state.m = Tensor<T>(parameter.value.shape(), parameter.value.device());
      state.v = state.m;
    }
    return state;
  }

  std::vector<State> states_;
  detail::AdamSchedule on_device_{};
};

template <class T>
Adam(std::vector<ParameterGroup<T>>, AdamOptions = {}) -> Adam<T>;

}  // namespace lora::inline v0
