// SPDX-License-Identifier: MIT
// Four adapters in one batch, each row its own, on top of the plain layer, beside the same layer
// with one adapter for all rows (lora_linear_bench.cpp): forward, and backward with the gradients
// of all adapters.
#include <array>
#include <vector>

#include "support.hpp"

namespace {

using namespace lora_bench;

namespace ops = lora::ops;

constexpr double kScale = 0.5;
constexpr std::int32_t kAdapters = 4;

struct MultiLayer {
  Tensor<float> x, w, bias, dy, u, h, y, dh, dx;
  std::array<Tensor<float>, kAdapters> a, b, da, db;
  Tensor<std::int32_t> ids;
  std::vector<lora::detail::AdapterTerm<float>> terms;

  explicit MultiLayer(const benchmark::State& state) {
    const index_t rows = state.range(0), out = state.range(1), in = state.range(2);
    const index_t rank = state.range(3);
    x = random({rows, in}, 1);
    w = random({out, in}, 2);
    bias = random({out}, 3);
    dy = random({rows, out}, 4);
    ids.resize({rows});
    for (index_t i = 0; i < rows; ++i) ids[i] = static_cast<std::int32_t>(i * 7 % 10) % kAdapters;
    for (std::int32_t id = 0; id < kAdapters; ++id) {
      const auto t = static_cast<std::size_t>(id);
      a[t] = random({rank, in}, 5 + t);
      b[t] = random({out, rank}, 50 + t);
      terms.push_back(
          lora::detail::adapter_term<float>(a[t], b[t], nullptr, false, id, id * rank, kScale));
    }
    use_threads();
  }

  /// The adapter of row i.
  std::size_t adapter(index_t i) const { return static_cast<std::size_t>(ids[i]); }

  /// An element of W + s B A as row i has it.
  double weight(index_t i, index_t o, index_t k) const {
    const auto& own_a = a[adapter(i)];
    const auto& own_b = b[adapter(i)];
    double sum = w(o, k);
    for (index_t r = 0; r < own_a.dim(0); ++r)
      sum += kScale * double{own_b(o, r)} * double{own_a(r, k)};
    return sum;
  }

  double flops() const {
    return 2 * static_cast<double>(x.dim(0)) *
           static_cast<double>(w.numel() + a[0].numel() + b[0].numel());
  }
  double bytes() const {
    return 4.0 * static_cast<double>(w.numel() + kAdapters * (a[0].numel() + b[0].numel()) +
                                     x.numel() + dy.numel());
  }
};

void single_forward(MultiLayer& l) {
  ops::lora_linear(l.x, l.w, &l.bias, l.a[0], l.b[0], l.h, l.y, kScale);
}

void multi_forward(MultiLayer& l) {
  ops::linear<float>(l.x, l.w, nullptr, l.u);
  ops::multi_lora_shrink(l.x, l.terms, &l.ids, l.h);
  ops::multi_lora_expand(l.u, l.h, l.terms, &l.ids, &l.bias, l.u);
}

void single_backward(MultiLayer& l) {
  ops::lora_linear_backward_input(l.dy, l.w, l.a[0], l.b[0], l.dh, &l.dx, kScale);
  ops::linear_backward_weight(l.dh, l.x, l.da[0]);
  ops::linear_backward_weight(l.dy, l.h, l.db[0]);
}

void multi_backward(MultiLayer& l) {
  ops::multi_lora_backward_shrink(l.dy, l.terms, &l.ids, l.dh);
  ops::linear_backward_input(l.dy, l.w, l.dx);
  ops::multi_lora_backward_input<float>(l.dh, l.terms, &l.ids, nullptr, l.dx);
  for (std::size_t t = 0; t < l.terms.size(); ++t) {
    ops::multi_lora_backward_weights(l.dy, l.x, l.h, l.dh, l.terms[t], &l.ids, &l.da[t], &l.db[t]);
  }
}

template <class Step>
void time(benchmark::State& state, MultiLayer& l, const Step& step) {
  for (auto _ : state) {
    step(l);
    benchmark::ClobberMemory();
  }
  report(state, l.flops(), l.bytes());
}

void multi_lora_single(benchmark::State& state) {
  MultiLayer l(state);
  time(state, l, single_forward);
}

void multi_lora(benchmark::State& state) {
  MultiLayer l(state);
  multi_forward(l);
  const double terms = static_cast<double>(l.w.dim(1) * (1 + l.a[0].dim(0)));
  require_close("multi_lora", l.u, std::sqrt(terms), [&](index_t i, index_t o) {
    double sum = l.bias[o];
    for (index_t k = 0; k < l.w.dim(1); ++k) sum += double{l.x(i, k)} * l.weight(i, o, k);
    return sum;
  });
  time(state, l, multi_forward);
}

void multi_lora_single_backward(benchmark::State& state) {
  MultiLayer l(state);
  single_forward(l);
  time(state, l, single_backward);
}

void multi_lora_backward(benchmark::State& state) {
  MultiLayer l(state);
  multi_forward(l);
  multi_backward(l);
  const index_t rows = l.x.dim(0), out = l.w.dim(0);
  const double terms = static_cast<double>(out * (1 + l.a[0].dim(0)));
  require_close("multi_lora_backward", l.dx, std::sqrt(terms), [&](index_t i, index_t k) {
    double sum = 0;
    for (index_t o = 0; o < out; ++o) sum += double{l.dy(i, o)} * l.weight(i, o, k);
    return sum;
  });
  for (std::size_t t = 0; t < l.terms.size(); ++t) {
    const auto of_rows = [&](const auto& product) {
      double sum = 0;
      for (index_t i = 0; i < rows; ++i) sum += l.adapter(i) == t ? product(i) : 0;
      return sum;
    };
    const index_t first = l.terms[t].first;
    const double size = std::sqrt(static_cast<double>(rows * (out + l.w.dim(1))));
    require_close("multi_lora_backward", l.da[t], size, [&](index_t r, index_t k) {
      return of_rows([&](index_t i) { return double{l.dh(i, first + r)} * double{l.x(i, k)}; });
    });
    require_close("multi_lora_backward", l.db[t], size, [&](index_t o, index_t r) {
      return of_rows([&](index_t i) { return double{l.dy(i, o)} * double{l.h(i, first + r)}; });
    });
  }
  time(state, l, multi_backward);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I", "R"});
  for (const int rank : {8, 1}) {
    b->Args({10, 1000, 784, rank})->Args({10, 1500, 1000, rank})->Args({10, 1300, 1500, rank});
  }
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

BENCHMARK(multi_lora_single)->Apply(shapes);
BENCHMARK(multi_lora)->Apply(shapes);
BENCHMARK(multi_lora_single_backward)->Apply(shapes);
BENCHMARK(multi_lora_backward)->Apply(shapes);

}  // namespace
