// SPDX-License-Identifier: MIT
// Everything that treats one element at a time: a hidden layer of the study, then 64 million.
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

namespace ops = lora::ops;

Cost streams(const benchmark::State& state, int count) {
  return {.bytes = count * floats(state.range(0))};
}

void fill(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1));
  run(state, made, streams(state, 1), [](auto& t) { ops::fill(std::get<0>(t), 0.25); });
}

// A factor of -1 leaves no trend, however often it is applied.
void scale(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1));
  run(state, made, streams(state, 2), [](auto& t) { ops::scale(std::get<0>(t), -1); });
}

void add_scaled(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1), random({state.range(0)}, 2));
  run(state, made, streams(state, 3), [](auto& t) {
    auto& [x, y] = t;
    ops::add_scaled(x, y, 1e-3);
  });
}

void relu(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1), Tensor<float>());
  run(state, made, streams(state, 2), [](auto& t) {
    auto& [x, y] = t;
    ops::relu(x, y);
  });
}

void relu_backward(benchmark::State& state) {
  const std::tuple made(random({state.range(0)}, 1), random({state.range(0)}, 2), Tensor<float>());
  run(state, made, streams(state, 3), [](auto& t) {
    auto& [y, dy, dx] = t;
    ops::relu_backward(y, dy, dx);
  });
}

void sizes(benchmark::internal::Benchmark* b) { b->ArgName("N")->Arg(15000)->Arg(1 << 26); }

}  // namespace

void add_elementwise() {
  sizes(add("fill", fill));
  sizes(add("scale", scale));
  sizes(add("add_scaled", add_scaled));
  sizes(add("relu", relu));
  sizes(add("relu_backward", relu_backward));
}

}  // namespace lora_bench
