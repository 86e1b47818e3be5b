// SPDX-License-Identifier: MIT
// What a DoRA layer's forward pass reads W for, dora_linear and dora_gains, beside all of a LoRA
// layer's, in turn: "of LoRA" is the ratio of the medians.
#include <chrono>
#include <vector>

#include "support.hpp"

namespace {

using namespace lora_bench;

constexpr double kScale = 0.5;

/// The study's layers with ranks 1 and 8: {B, O, I, R}.
void dora_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I", "R"});
  for (const int rank : {1, 8}) {
    b->Args({10, 1000, 784, rank})->Args({10, 1500, 1000, rank});
    b->Args({10, 1300, 1500, rank})->Args({10, 10, 1300, rank});
  }
  b->Unit(benchmark::kMicrosecond)->UseManualTime();
}

template <class F>
double seconds(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  benchmark::ClobberMemory();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void dora_forward(benchmark::State& state) {
  const index_t rows = state.range(0), out = state.range(1), in = state.range(2);
  const index_t rank = state.range(3);
  const auto x = random({rows, in}, 1), w = random({out, in}, 2), a = random({rank, in}, 3);
  const auto b = random({out, rank}, 4), magnitude = random({out}, 5);
  Tensor<float> u, wa, squares, norms, gains, h, y;
  use_threads();
  const auto dora = [&] {
    lora::ops::dora_linear(x, a, w, u, wa, squares);
    lora::ops::dora_gains(wa, 0, squares, a, b, w, magnitude, kScale, norms, gains);
  };
  const auto lora = [&] { lora::ops::lora_linear<float>(x, w, nullptr, a, b, h, y, kScale); };

  dora();
  lora();
  require_close("dora_linear", u, std::sqrt(static_cast<double>(in)), [&](index_t i, index_t j) {
    double sum = 0;
    for (index_t k = 0; k < in; ++k) sum += double{x(i, k)} * double{w(j, k)};
    return sum;
  });
  Tensor<float> as_row({1, out});
  for (index_t o = 0; o < out; ++o) as_row[o] = norms[o];
  require_close("dora_gains", as_row, std::sqrt(static_cast<double>(in)), [&](index_t, index_t o) {
    double square = 0;
    for (index_t k = 0; k < in; ++k) {
      double element = double{w(o, k)};
      for (index_t r = 0; r < rank; ++r) element += kScale * double{b(o, r)} * double{a(r, k)};
      square += element * element;
    }
    return std::sqrt(square);
  });

  std::vector<double> dora_seconds, lora_seconds;
  for (auto _ : state) {
    lora_seconds.push_back(seconds(lora));
    dora_seconds.push_back(seconds(dora));
    state.SetIterationTime(dora_seconds.back());
  }
  state.counters["of LoRA"] = median(dora_seconds) / median(lora_seconds);
}
BENCHMARK(dora_forward)->Apply(dora_shapes);

}  // namespace
