// SPDX-License-Identifier: MIT
// y = x Wᵀ + b + s (x Aᵀ) Bᵀ beside the plain layer of linear_bench.cpp, its backward pass without
// and with the adapter's update, and the merge.
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

namespace ops = lora::ops;

constexpr double kScale = 0.5;

struct Sizes {
  index_t rows, out, in, rank;
  bool cold;

  explicit Sizes(const benchmark::State& state)
      : rows(state.range(0)),
        out(state.range(1)),
        in(state.range(2)),
        rank(state.range(3)),
        cold(state.range(4) != 0) {}

  index_t adapter() const { return rank * (out + in); }

  Cost cost() const {
    return {.bytes = floats(out * in + adapter() + rows * (out + in + rank)),
            .flops = 2.0 * static_cast<double>(rows * (out * in + adapter())),
            .is_product = true};
  }
};

void lora_linear(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.in}, 1), random({s.out, s.in}, 2), random({s.out}, 3),
                        random({s.rank, s.in}, 4), random({s.out, s.rank}, 5), Tensor<float>(),
                        Tensor<float>());
  const auto step = [](auto& t) {
    auto& [x, w, bias, a, b, h, y] = t;
    ops::lora_linear(x, w, &bias, a, b, h, y, kScale);
  };
  run(state, made, s.cost(), step, {.cold = s.cold});
}

void lora_linear_backward_input(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.out, s.in}, 2),
                        random({s.rank, s.in}, 3), random({s.out, s.rank}, 4), Tensor<float>(),
                        Tensor<float>());
  const auto step = [](auto& t) {
    auto& [dy, w, a, b, dh, dx] = t;
    ops::lora_linear_backward_input(dy, w, a, b, dh, &dx, kScale);
  };
  run(state, made, s.cost(), step, {.cold = s.cold});
}

// A and B are read and written with their moments, x is read for their gradients, too.
void lora_linear_backward_adam(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rows, s.out}, 1), random({s.rows, s.in}, 2),
                        random({s.out, s.in}, 3), random({s.rows, s.rank}, 4),
                        random_trained({s.rank, s.in}, 5), random_trained({s.out, s.rank}, 6),
                        Tensor<float>(), Tensor<float>());
  const auto step = [](auto& t) {
    auto& [dy, x, w, h, a, b, dh, dx] = t;
    const auto schedule = lora::detail::adam_schedule({}, 100);
    ops::lora_linear_backward_adam(dy, x, w, h, a.value, a.state, b.value, b.state, dh, &dx, kScale,
                                   schedule, schedule);
  };
  Cost cost = s.cost();
  cost.bytes += floats(5 * s.adapter() + s.rows * (s.in + s.rank));
  cost.flops += 2.0 * static_cast<double>(s.rows * s.adapter());
  run(state, made, cost, step, {.cold = s.cold});
}

void lora_merge(benchmark::State& state) {
  const Sizes s(state);
  const std::tuple made(random({s.rank, s.in}, 1), random({s.out, s.rank}, 2),
                        random({s.out, s.in}, 3));
  const Cost cost{.bytes = floats(2 * s.out * s.in + s.adapter()),
                  .flops = 2.0 * static_cast<double>(s.out * s.in * s.rank)};
  const auto step = [](auto& t) {
    auto& [a, b, w] = t;
    ops::lora_merge(a, b, w, 1e-3);
  };
  run(state, made, cost, step, {.cold = s.cold});
}

void all_layers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I", "R", "cold"});
  for (const int cold : {1, 0}) {
    b->Args({10, 1000, 784, 1, cold})->Args({10, 1500, 1000, 1, cold});
    b->Args({10, 1300, 1500, 1, cold})->Args({10, 1300, 1500, 16, cold});
  }
  b->Args({10, 10, 1300, 1, 0})->Args({1024, 1024, 1024, 16, 0})->Args({4096, 2048, 2048, 16, 0});
}

}  // namespace

void add_lora_linear() {
  all_layers(add("lora_linear", lora_linear));
  all_layers(add("lora_linear_backward_input", lora_linear_backward_input));
  all_layers(add("lora_linear_backward_adam", lora_linear_backward_adam));
  add("lora_merge", lora_merge)
      ->ArgNames({"B", "O", "I", "R", "cold"})
      ->Args({0, 1500, 1000, 1, 1})
      ->Args({0, 4096, 4096, 16, 0});
}

}  // namespace lora_bench
