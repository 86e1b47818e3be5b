// SPDX-License-Identifier: MIT
// Adam: dense, 28 bytes a parameter; on a gradient in factors and fused with the layer's backward
// pass, 24.
#include "support.hpp"

namespace {

using namespace lora_bench;

struct Layer {
  Tensor<float> dy, x, w, gradient, dx;
  lora::AdamState<float> state;
  std::int64_t step = 0;

  Layer(index_t rows, index_t out, index_t in)
      : dy(random({rows, out}, 1)),
        x(random({rows, in}, 2)),
        w(random({out, in}, 3)),
        gradient(random({out, in}, 4)),
        state{Tensor<float>({out, in}), Tensor<float>({out, in})} {
    use_threads();
  }

  lora::detail::AdamSchedule next() { return lora::detail::adam_schedule({}, ++step); }
};

// After one step from zero moments, every parameter has moved by lr against its gradient's sign.
template <class Gradient>
void check_first_step(const char* name, const Tensor<float>& before, const Layer& layer,
                      const Gradient& gradient) {
  require_close(name, layer.w, 1.0, [&](index_t i, index_t j) {
    const double g = gradient(i, j);
    return static_cast<double>(before(i, j)) - 1e-3 * g / (std::fabs(g) + 1e-8);
  });
}

double factored_gradient(const Layer& l, index_t i, index_t j) {
  double sum = 0;
  for (index_t k = 0; k < l.dy.dim(0); ++k) sum += double{l.dy(k, i)} * double{l.x(k, j)};
  return sum;
}

template <class Step>
void time(benchmark::State& state, Layer& layer, double bytes_a_parameter, const Step& step) {
  for (auto _ : state) {
    step();
    benchmark::ClobberMemory();
  }
  const auto parameters = static_cast<double>(layer.w.numel());
  report(state, 2.0 * parameters * static_cast<double>(layer.dy.dim(0)),
         bytes_a_parameter * parameters);
}

void adam(benchmark::State& state) {
  Layer l(1, state.range(1), state.range(2));
  const Tensor<float> before = l.w;
  const auto step = [&] { lora::ops::adam(l.gradient, l.w, l.state, l.next()); };
  step();
  check_first_step("adam", before, l, [&](index_t i, index_t j) { return l.gradient(i, j); });
  time(state, l, 28, step);
}
BENCHMARK(adam)->Apply(layer_shapes);

void adam_factored(benchmark::State& state) {
  Layer l(state.range(0), state.range(1), state.range(2));
  const Tensor<float> before = l.w;
  const auto step = [&] { lora::ops::adam_factored(l.dy, l.x, l.w, l.state, l.next()); };
  step();
  check_first_step("adam_factored", before, l,
                   [&](index_t i, index_t j) { return factored_gradient(l, i, j); });
  time(state, l, 24, step);
}
BENCHMARK(adam_factored)->Apply(thin_layer_shapes);

void linear_backward_adam(benchmark::State& state) {
  Layer l(state.range(0), state.range(1), state.range(2));
  const Tensor<float> before = l.w;
  const auto step = [&] {
    lora::ops::linear_backward_adam<float>(l.dy, l.x, l.w, l.state, nullptr, nullptr, &l.dx,
                                           l.next());
  };
  step();
  check_first_step("linear_backward_adam", before, l,
                   [&](index_t i, index_t j) { return factored_gradient(l, i, j); });
  time(state, l, 24, step);
}
BENCHMARK(linear_backward_adam)->Apply(thin_layer_shapes);

}  // namespace
