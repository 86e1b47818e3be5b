// SPDX-License-Identifier: MIT
// y = x Wᵀ + b and its backward passes, beside cublasSgemm where the two do the same work.
#include "gpu/cublas.hpp"
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

namespace ops = lora::ops;

struct Sizes {
  index_t rows, out, in;
  bool cold;

  explicit Sizes(const benchmark::State& state)
      : rows(state.range(0)), out(state.range(1)), in(state.range(2)), cold(state.range(3) != 0) {}

  Cost cost() const {
    return {.bytes = floats(out * in + rows * (out + in)),
            .flops = 2.0 * static_cast<double>(rows * out * in),
            .is_product = true};
  }
};

void linear(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.in}, 1), random({s.out, s.in}, 2), random({s.out}, 3),
                        Tensor<float>());
  using Operands = std::remove_const_t<decltype(made)>;
  Options<Operands> options{.cold = s.cold};
  if (cublas::is_there()) {  // which adds no bias
    options.peer = {
        [](Operands& t) { cublas::linear(std::get<0>(t), std::get<1>(t), std::get<3>(t)); },
        [](Operands& t) {
          ops::linear<float>(std::get<0>(t), std::get<1>(t), nullptr, std::get<3>(t));
        }};
  }
  const auto step = [](auto& t) {
    auto& [x, w, bias, y] = t;
    ops::linear(x, w, &bias, y);
  };
  run(state, made, s.cost(), step, options);
}

void linear_backward_input(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.out, s.in}, 2), Tensor<float>());
  using Operands = std::remove_const_t<decltype(made)>;
  const auto step = [](auto& t) {
    auto& [dy, w, dx] = t;
    ops::linear_backward_input(dy, w, dx);
  };
  Options<Operands> options{.cold = s.cold};
  if (cublas::is_there()) {
    options.peer = {[](Operands& t) {
                      auto& [dy, w, dx] = t;
                      cublas::linear_backward_input(dy, w, dx);
                    },
                    step};
  }
  run(state, made, s.cost(), step, options);
}

void linear_backward_weight(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2), Tensor<float>());
  using Operands = std::remove_const_t<decltype(made)>;
  const auto step = [](auto& t) {
    auto& [dy, x, dw] = t;
    ops::linear_backward_weight(dy, x, dw);
  };
  Options<Operands> options{.cold = s.cold};
  if (cublas::is_there()) {
    options.peer = {[](Operands& t) {
                      auto& [dy, x, dw] = t;
                      cublas::linear_backward_weight(dy, x, dw);
                    },
                    step};
  }
  run(state, made, s.cost(), step, options);
}

void linear_backward_bias(benchmark::State& state) {
  const index_t rows = state.range(0), out = state.range(1);
  const std::tuple made(random({rows, out}, 1), Tensor<float>());
  run(state, made, {.bytes = floats(rows * out + out)}, [](auto& t) {
    auto& [dy, db] = t;
    ops::linear_backward_bias(dy, db);
  });
}

void all_layers(benchmark::internal::Benchmark* b) {
  study_layers(b);
  for (const int size : {1024, 2048, 4096}) b->Args({size, size, size, 0});
}

}  // namespace

void add_linear() {
  all_layers(add("linear", linear));
  all_layers(add("linear_backward_input", linear_backward_input));
  all_layers(add("linear_backward_weight", linear_backward_weight));
  add("linear_backward_bias", linear_backward_bias)
      ->ArgNames({"B", "O"})
      ->Args({10, 1500})
      ->Args({8192, 4096});
}

}  // namespace lora_bench
