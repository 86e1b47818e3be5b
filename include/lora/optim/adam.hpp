// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <lora/ops/adam.hpp>
#include <lora/optim/optimizer.hpp>

namespace lora::inline v0 {

/// Adam with bias correction, as torch.optim.Adam; see ops/adam.hpp for the formula. Its memory,
/// two tensors a parameter, is taken at a parameter's first update: frozen ones cost nothing.
template <class T>
class Adam final : public Optimizer<T> {
 public:
  explicit Adam(std::vector<Parameter<T>*> parameters, AdamOptions options = {})
      : Optimizer<T>(parameters), options(options), states_(parameters.size()) {}

  AdamOptions options;  ///< may be changed between steps

 private:
  struct State {
    std::int64_t step = 0;
    Tensor<T> m, v;
  };

  void update(std::size_t index, Parameter<T>& parameter) override {
    State& state = next_state(index, parameter);
    if (parameter.grad.is_factored()) {
      ops::adam_factored(parameter.grad.dy(), parameter.grad.x(), parameter.value, state.m, state.v,
                         options, state.step);
    } else {
      ops::adam(parameter.grad.dense(), parameter.value, state.m, state.v, options, state.step);
    }
  }

  void update_linear(std::size_t index, Parameter<T>& weight, const Tensor<T>& dy,
                     const Tensor<T>& x, Tensor<T>* dx) override {
    State& state = next_state(index, weight);
    ops::linear_backward_adam(dy, x, weight.value, state.m, state.v, dx, options, state.step);
  }

  State& next_state(std::size_t index, const Parameter<T>& parameter) {
    State& state = states_[index];
    if (state.step++ == 0) {
      state.m = Tensor<T>(parameter.value.shape(), parameter.value.device());
      state.v = state.m;
    }
    return state;
  }

  std::vector<State> states_;
};

}  // namespace lora::inline v0
