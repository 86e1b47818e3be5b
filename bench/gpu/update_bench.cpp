// SPDX-License-Identifier: MIT
// Adam and SGD: on a dense gradient, on one in factors, and fused with the layer's backward pass.
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

namespace ops = lora::ops;

const lora::SGDOptions kSgd{.lr = 1e-3};

lora::detail::AdamSchedule schedule() { return lora::detail::adam_schedule({}, 100); }

struct Sizes {
  index_t rows, out, in;
  bool cold;

  explicit Sizes(const benchmark::State& state)
      : rows(state.range(0)), out(state.range(1)), in(state.range(2)), cold(state.range(3) != 0) {}

  /// `streams` of the weight's size, and dy and x; `products` of the layer's size.
  Cost cost(int streams, int products, bool with_dx) const {
    return {.bytes = floats(streams * out * in + rows * (out + (with_dx ? 2 : 1) * in)),
            .flops = products * 2.0 * static_cast<double>(rows * out * in)};
  }
};

// 28 bytes a parameter.
void adam(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1), random_trained({state.range(0)}, 2));
  const auto step = [](auto& t) {
    auto& [gradient, p] = t;
    ops::adam(gradient, p.value, p.state, schedule());
  };
  run(state, made, {.bytes = 7 * floats(state.range(0))}, step, {.cold = state.range(1) != 0});
}

void sgd(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1), random({state.range(0)}, 2));
  const auto step = [](auto& t) {
    auto& [gradient, value] = t;
    ops::sgd(gradient, value, kSgd);
  };
  run(state, made, {.bytes = 3 * floats(state.range(0))}, step, {.cold = state.range(1) != 0});
}

// 24 bytes a parameter.
void adam_factored(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2),
                        random_trained({s.out, s.in}, 3));
  const auto step = [](auto& t) {
    auto& [dy, x, w] = t;
    ops::adam_factored(dy, x, w.value, w.state, schedule());
  };
  run(state, made, s.cost(6, 1, false), step, {.cold = s.cold});
}

void sgd_factored(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2),
                        random({s.out, s.in}, 3));
  const auto step = [](auto& t) {
    auto& [dy, x, w] = t;
    ops::sgd_factored(dy, x, w, kSgd);
  };
  run(state, made, s.cost(2, 1, false), step, {.cold = s.cold});
}

void linear_backward_adam(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2),
                        random_trained({s.out, s.in}, 3), random_trained({s.out}, 4),
                        Tensor<float>());
  const auto step = [](auto& t) {
    auto& [dy, x, w, bias, dx] = t;
    ops::linear_backward_adam<float>(dy, x, w.value, w.state, &bias.value, &bias.state, &dx,
                                     schedule());
  };
  run(state, made, s.cost(6, 2, true), step, {.cold = s.cold});
}

void linear_backward_sgd(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2),
                        random({s.out, s.in}, 3), Tensor<float>());
  const auto step = [](auto& t) {
    auto& [dy, x, w, dx] = t;
    ops::linear_backward_sgd(dy, x, w, &dx, kSgd);
  };
  run(state, made, s.cost(2, 2, true), step, {.cold = s.cold});
}

void dense_sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "cold"})->Args({1500000, 1})->Args({1500000, 0})->Args({1 << 26, 0});
}

void layers(benchmark::internal::Benchmark* b) {
  study_layers(b);
  b->Args({256, 4096, 4096, 0});
}

}  // namespace

void add_updates() {
  dense_sizes(add("adam", adam));
  dense_sizes(add("sgd", sgd));
  layers(add("adam_factored", adam_factored));
  layers(add("sgd_factored", sgd_factored));
  layers(add("linear_backward_adam", linear_backward_adam));
  layers(add("linear_backward_sgd", linear_backward_sgd));
}

}  // namespace lora_bench
