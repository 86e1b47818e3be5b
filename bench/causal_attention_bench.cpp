// SPDX-License-Identifier: MIT
// Causal attention, forward and backward. GFLOP/s count the products of the triangle alone: two
// forward and five backward, 2 d for each pair of tokens.
#include <lora/ops/causal_attention.hpp>

#include "support.hpp"

namespace {

using namespace lora_bench;

/// {B, T, heads, d}
void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "T", "heads", "d"});
  b->Args({16, 64, 4, 16})->Args({16, 64, 4, 32})->Args({16, 128, 4, 16})->Args({16, 128, 4, 32});
  b->Args({4, 256, 4, 32})->Args({1, 1024, 4, 64})->Args({1, 4096, 4, 64});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

/// The operands, and the formulas in double for one element.
struct Case {
  index_t batch, length, heads, d, size;
  Tensor<float> q, k, v, dy, y, log_sum_exp, dq, dk, dv;

  explicit Case(const benchmark::State& state)
      : batch(state.range(0)),
        length(state.range(1)),
        heads(state.range(2)),
        d(state.range(3)),
        size(heads * d),
        q(random({batch, length, size}, 1)),
        k(random({batch, length, size}, 2)),
        v(random({batch, length, size}, 3)),
        dy(random({batch, length, size}, 4)) {}

  void forward() { lora::ops::causal_attention(q, k, v, heads, y, log_sum_exp); }
  void backward() {
    lora::ops::causal_attention_backward(dy, q, k, v, y, log_sum_exp, heads, dq, dk, dv);
  }

  /// Row i of a and row j of b, in the head of column c.
  double row_dot(const Tensor<float>& a, index_t i, const Tensor<float>& b, index_t j,
                 index_t c) const {
    const float* const of_a = a.data() + i * size + c / d * d;
    const float* const of_b = b.data() + j * size + c / d * d;
    double sum = 0;
    for (index_t n = 0; n < d; ++n) sum += double{of_a[n]} * double{of_b[n]};
    return sum;
  }
  double score(index_t i, index_t j, index_t c) const {
    return row_dot(q, i, k, j, c) / std::sqrt(static_cast<double>(d));
  }
  double probability(index_t i, index_t j, index_t c) const {
    const index_t row = (i / length * heads + c / d) * length + i % length;
    return std::exp(score(i, j, c) - double{log_sum_exp[row]});
  }
  double score_gradient(index_t i, index_t j, index_t c) const {
    return probability(i, j, c) * (row_dot(dy, i, v, j, c) - row_dot(dy, i, y, i, c)) /
           std::sqrt(static_cast<double>(d));
  }
  double element(const Tensor<float>& x, index_t i, index_t c) const {
    return double{x[i * size + c]};
  }

  /// Σ f(other) over the tokens of row i's sequence before it and itself, or behind it and itself.
  template <class F>
  double sum_before(index_t i, const F& f) const {
    double sum = 0;
    for (index_t j = i / length * length; j <= i; ++j) sum += f(j);
    return sum;
  }
  template <class F>
  double sum_behind(index_t j, const F& f) const {
    double sum = 0;
    for (index_t i = j; i < (j / length + 1) * length; ++i) sum += f(i);
    return sum;
  }

  Tensor<float> as_rows(Tensor<float> x) const {
    x.resize({batch * length, size});
    return x;
  }

  void check_forward() {
    require_close("causal_attention", as_rows(y), 1.0, [&](index_t i, index_t c) {
      double weights = 0;
      const double sum = sum_before(i, [&](index_t j) {
        const double weight = std::exp(score(i, j, c));
        weights += weight;
        return weight * element(v, j, c);
      });
      return sum / weights;
    });
  }

  void check_backward() {
    require_close("causal_attention_backward dq", as_rows(dq), 10.0, [&](index_t i, index_t c) {
      return sum_before(i, [&](index_t j) { return score_gradient(i, j, c) * element(k, j, c); });
    });
    require_close("causal_attention_backward dk", as_rows(dk), 10.0, [&](index_t j, index_t c) {
      return sum_behind(j, [&](index_t i) { return score_gradient(i, j, c) * element(q, i, c); });
    });
    require_close("causal_attention_backward dv", as_rows(dv), 10.0, [&](index_t j, index_t c) {
      return sum_behind(j, [&](index_t i) { return probability(i, j, c) * element(dy, i, c); });
    });
  }

  /// Of one product over the triangle.
  double flops() const {
    return static_cast<double>(batch * size) * static_cast<double>(length) *
           static_cast<double>(length + 1);
  }
  double bytes(int tensors) const { return 4.0 * tensors * static_cast<double>(q.numel()); }
};

void causal_attention(benchmark::State& state) {
  use_threads();
  Case c(state);
  c.forward();
  c.check_forward();
  for (auto _ : state) {
    c.forward();
    benchmark::ClobberMemory();
  }
  report(state, 2 * c.flops(), c.bytes(4));
}
BENCHMARK(causal_attention)->Apply(attention_shapes);

void causal_attention_backward(benchmark::State& state) {
  use_threads();
  Case c(state);
  c.forward();
  c.backward();
  c.check_backward();
  for (auto _ : state) {
    c.backward();
    benchmark::ClobberMemory();
  }
  report(state, 5 * c.flops(), c.bytes(8));
}
BENCHMARK(causal_attention_backward)->Apply(attention_shapes);

}  // namespace
