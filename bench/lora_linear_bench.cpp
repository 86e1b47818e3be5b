// SPDX-License-Identifier: MIT
// y = x Wᵀ + b + s (x Aᵀ) Bᵀ beside the plain layer of linear_bench.cpp, and its backward pass.
#include "support.hpp"

namespace {

using namespace lora_bench;

constexpr double kScale = 0.5;

struct Layer {
  Tensor<float> x, w, bias, a, b, dy, h, y, dh, dx;

  explicit Layer(const benchmark::State& state) {
    const index_t rows = state.range(0), out = state.range(1), in = state.range(2);
    const index_t rank = state.range(3);
    x = random({rows, in}, 1);
    w = random({out, in}, 2);
    bias = random({out}, 3);
    a = random({rank, in}, 4);
    b = random({out, rank}, 5);
    dy = random({rows, out}, 6);
    use_threads();
  }

  double flops() const {
    const double rows = static_cast<double>(x.dim(0));
    return 2 * rows * static_cast<double>(w.numel() + a.numel() + b.numel());
  }
  double bytes() const {
    return 4.0 * static_cast<double>(w.numel() + a.numel() + b.numel() + x.numel() + dy.numel());
  }
};

void lora_linear(benchmark::State& state) {
  Layer l(state);
  const auto forward = [&] {
    lora::ops::lora_linear(l.x, l.w, &l.bias, l.a, l.b, l.h, l.y, kScale);
  };
  forward();
  const double terms = static_cast<double>(l.w.dim(1) * (1 + l.a.dim(0)));
  require_close("lora_linear", l.y, std::sqrt(terms), [&](index_t i, index_t j) {
    double sum = l.bias[j];
    for (index_t k = 0; k < l.w.dim(1); ++k) sum += double{l.x(i, k)} * double{l.w(j, k)};
    for (index_t r = 0; r < l.a.dim(0); ++r) {
      double h = 0;
      for (index_t k = 0; k < l.w.dim(1); ++k) h += double{l.x(i, k)} * double{l.a(r, k)};
      sum += kScale * h * double{l.b(j, r)};
    }
    return sum;
  });
  for (auto _ : state) {
    forward();
    benchmark::ClobberMemory();
  }
  report(state, l.flops(), l.bytes());
}
BENCHMARK(lora_linear)->Apply(lora_shapes);

void lora_linear_backward_input(benchmark::State& state) {
  Layer l(state);
  const auto backward = [&] {
    lora::ops::lora_linear_backward_input(l.dy, l.w, l.a, l.b, l.dh, &l.dx, kScale);
  };
  backward();
  const double terms = static_cast<double>(l.w.dim(0) * (1 + l.a.dim(0)));
  require_close("lora_linear_backward_input", l.dx, std::sqrt(terms), [&](index_t i, index_t k) {
    double sum = 0;
    for (index_t j = 0; j < l.w.dim(0); ++j) sum += double{l.dy(i, j)} * double{l.w(j, k)};
    for (index_t r = 0; r < l.a.dim(0); ++r) {
      double dh = 0;
      for (index_t j = 0; j < l.w.dim(0); ++j) dh += double{l.dy(i, j)} * double{l.b(j, r)};
      sum += kScale * dh * double{l.a(r, k)};
    }
    return sum;
  });
  for (auto _ : state) {
    backward();
    benchmark::ClobberMemory();
  }
  report(state, l.flops(), l.bytes());
}
BENCHMARK(lora_linear_backward_input)->Apply(lora_shapes);

}  // namespace
