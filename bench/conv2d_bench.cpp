// SPDX-License-Identifier: MIT
// 2-D convolution and its backward passes: the layers of a small network on digits, LoRA's two
// convolutions of one of them, a depthwise one, and a layer of a larger network.
#include <lora/ops/conv2d.hpp>

#include "support.hpp"

namespace {

using namespace lora_bench;

struct Layer {
  lora::Conv2dOptions options;
  index_t in_group, kernel;
  Tensor<float> x, w, b, y, dy, dx, dw;

  explicit Layer(const benchmark::State& state)
      : options{.stride = state.range(5), .padding = state.range(4) / 2, .groups = state.range(6)},
        in_group(state.range(1) / options.groups),
        kernel(state.range(4)),
        x(random({state.range(0), state.range(1), state.range(3), state.range(3)}, 1)),
        w(random({state.range(2), in_group, kernel, kernel}, 2)),
        b(random({state.range(2)}, 3)),
        dx(x.shape()),
        dw(w.shape()) {
    use_threads();
    lora::ops::conv2d(x, w, &b, y, options);
    dy = random(y.shape(), 4);
  }

  double terms() const { return static_cast<double>(in_group * kernel * kernel); }
  double flops() const { return 2.0 * static_cast<double>(y.numel()) * terms(); }
  double bytes() const { return 4.0 * static_cast<double>(x.numel() + w.numel() + y.numel()); }

  // Calls f(x's element, w's element, y's element) for every product of image n.
  template <class F>
  void for_each_product(index_t n, const F& f) const {
    const index_t outputs = w.dim(0) / options.groups;
    const index_t size = x.dim(2);
    for (index_t o = 0; o < w.dim(0); ++o) {
      for (index_t i = 0; i < y.dim(2); ++i) {
        for (index_t j = 0; j < y.dim(3); ++j) {
          const index_t at_y = ((n * w.dim(0) + o) * y.dim(2) + i) * y.dim(3) + j;
          for (index_t k = 0; k < in_group * kernel * kernel; ++k) {
            const index_t c = o / outputs * in_group + k / (kernel * kernel);
            const index_t row = i * options.stride.h + k / kernel % kernel - options.padding.h;
            const index_t col = j * options.stride.w + k % kernel - options.padding.w;
            if (row < 0 || row >= size || col < 0 || col >= size) continue;
            f(((n * x.dim(1) + c) * size + row) * size + col, o * in_group * kernel * kernel + k,
              at_y);
          }
        }
      }
    }
  }
};

// Ends the program unless the elements of `got` from `first` on are sums of so many terms.
void require_sums(const char* name, const Tensor<float>& got, const std::vector<double>& expected,
                  std::size_t first, double terms) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(double{got.data()[first + i]} - expected[i]);
    if (!(error <= 1e-5 * std::sqrt(terms) * 4)) wrong(name);
  }
}

template <class Compute>
void time(benchmark::State& state, const Layer& l, const Compute& compute) {
  for (auto _ : state) {
    compute();
    benchmark::ClobberMemory();
  }
  report(state, l.flops(), l.bytes());
}

// {N, C, O, H = W, kernel, stride, groups}
void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "C", "O", "H", "k", "s", "g"});
  b->Args({64, 1, 16, 28, 3, 1, 1})->Args({64, 1, 16, 28, 3, 2, 1});
  b->Args({64, 16, 32, 28, 3, 1, 1})->Args({64, 16, 32, 14, 3, 2, 1});
  b->Args({64, 16, 4, 14, 3, 2, 1})->Args({64, 4, 32, 7, 1, 1, 1});
  b->Args({64, 32, 32, 14, 3, 1, 32})->Args({16, 64, 64, 32, 3, 1, 1});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

void conv2d(benchmark::State& state) {
  Layer l(state);
  const index_t last = l.x.dim(0) - 1;
  const auto image = static_cast<std::size_t>(l.y.numel() / l.y.dim(0));
  std::vector<double> sums(image);
  const std::size_t first = static_cast<std::size_t>(last) * image;
  for (std::size_t i = 0; i < image; ++i) {
    sums[i] = l.b[static_cast<index_t>(i) / (l.y.dim(2) * l.y.dim(3))];
  }
  l.for_each_product(last, [&](index_t x, index_t w, index_t y) {
    sums[static_cast<std::size_t>(y) - first] += double{l.x[x]} * double{l.w[w]};
  });
  require_sums("conv2d", l.y, sums, first, l.terms());
  time(state, l, [&] { lora::ops::conv2d(l.x, l.w, &l.b, l.y, l.options); });
}
BENCHMARK(conv2d)->Apply(shapes);

void conv2d_backward_input(benchmark::State& state) {
  Layer l(state);
  const auto compute = [&] { lora::ops::conv2d_backward_input(l.dy, l.w, l.dx, l.options); };
  compute();
  const index_t last = l.x.dim(0) - 1;
  const auto image = static_cast<std::size_t>(l.x.numel() / l.x.dim(0));
  std::vector<double> sums(image);
  const std::size_t first = static_cast<std::size_t>(last) * image;
  l.for_each_product(last, [&](index_t x, index_t w, index_t y) {
    sums[static_cast<std::size_t>(x) - first] += double{l.dy[y]} * double{l.w[w]};
  });
  require_sums("conv2d_backward_input", l.dx, sums, first,
               l.terms() * static_cast<double>(l.w.dim(0)));
  time(state, l, compute);
}
BENCHMARK(conv2d_backward_input)->Apply(shapes);

void conv2d_backward_weight(benchmark::State& state) {
  Layer l(state);
  const auto compute = [&] { lora::ops::conv2d_backward_weight(l.dy, l.x, l.dw, l.options); };
  compute();
  std::vector<double> sums(static_cast<std::size_t>(l.w.numel()));
  for (index_t n = 0; n < l.x.dim(0); ++n) {
    l.for_each_product(n, [&](index_t x, index_t w, index_t y) {
      sums[static_cast<std::size_t>(w)] += double{l.dy[y]} * double{l.x[x]};
    });
  }
  require_sums("conv2d_backward_weight", l.dw, sums, 0,
               static_cast<double>(l.y.numel() / l.y.dim(1)));
  time(state, l, compute);
}
BENCHMARK(conv2d_backward_weight)->Apply(shapes);

}  // namespace
