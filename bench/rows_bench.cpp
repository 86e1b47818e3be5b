// SPDX-License-Identifier: MIT
// What goes over the rows of a matrix: softmax_cross_entropy, argmax, relu, normalize_rows.
#include "support.hpp"

namespace {

using namespace lora_bench;

Tensor<std::int32_t> random_labels(index_t rows, index_t classes) {
  Tensor<std::int32_t> labels({rows});
  for (index_t i = 0; i < rows; ++i) {
    labels[i] = static_cast<std::int32_t>(i * 7919 % classes);
  }
  return labels;
}

void softmax_cross_entropy(benchmark::State& state) {
  use_threads();
  const Tensor<float> z = random({state.range(0), state.range(1)}, 1);
  const Tensor<std::int32_t> labels = random_labels(z.dim(0), z.dim(1));
  Tensor<float> dz;
  lora::softmax_cross_entropy(z, labels, dz);
  require_close("softmax_cross_entropy", dz, 1.0, [&](index_t i, index_t j) {
    double sum = 0;
    for (index_t k = 0; k < z.dim(1); ++k) sum += std::exp(double{z(i, k)});
    return (std::exp(double{z(i, j)}) / sum - (j == labels[i])) / static_cast<double>(z.dim(0));
  });
  for (auto _ : state) benchmark::DoNotOptimize(lora::softmax_cross_entropy(z, labels, dz));
  report(state, 5.0 * static_cast<double>(z.numel()), 8.0 * static_cast<double>(z.numel()));
}
BENCHMARK(softmax_cross_entropy)->Apply(row_shapes);

void argmax(benchmark::State& state) {
  use_threads();
  const Tensor<float> x = random({state.range(0), state.range(1)}, 1);
  Tensor<std::int32_t> indices;
  lora::ops::argmax(x, indices);
  for (index_t i = 0; i < x.dim(0); ++i) {
    const float* row = &x(i, 0);
    if (std::max_element(row, row + x.dim(1)) - row != indices[i]) wrong("argmax");
  }
  for (auto _ : state) {
    lora::ops::argmax(x, indices);
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(x.numel()), 4.0 * static_cast<double>(x.numel()));
}
BENCHMARK(argmax)->Apply(row_shapes);

void relu(benchmark::State& state) {
  use_threads();
  const Tensor<float> x = random({state.range(0), state.range(1)}, 1);
  Tensor<float> y;
  lora::ops::relu(x, y);
  require_close("relu", y, 1.0,
                [&](index_t i, index_t j) { return std::max(0.0, double{x(i, j)}); });
  for (auto _ : state) {
    lora::ops::relu(x, y);
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(x.numel()), 8.0 * static_cast<double>(x.numel()));
}
BENCHMARK(relu)->Apply(row_shapes);

void normalize_rows(benchmark::State& state) {
  use_threads();
  Tensor<std::uint8_t> images({1000, 784});
  for (index_t i = 0; i < images.numel(); ++i) {
    images[i] = static_cast<std::uint8_t>(i * 2654435761u >> 24);
  }
  Tensor<index_t> rows({state.range(0)});
  for (index_t i = 0; i < rows.numel(); ++i) rows[i] = i * 7919 % 1000;
  Tensor<float> y;
  lora::ops::normalize_rows(images, rows, y, 0.1307, 0.3081);
  require_close("normalize_rows", y, 1.0, [&](index_t i, index_t j) {
    return (images(rows[i], j) / 255.0 - 0.1307) / 0.3081;
  });
  for (auto _ : state) {
    lora::ops::normalize_rows(images, rows, y, 0.1307, 0.3081);
    benchmark::ClobberMemory();
  }
  report(state, 3.0 * static_cast<double>(y.numel()), 5.0 * static_cast<double>(y.numel()));
}
BENCHMARK(normalize_rows)->ArgName("B")->Arg(10)->Arg(512)->Unit(benchmark::kMicrosecond);

}  // namespace
