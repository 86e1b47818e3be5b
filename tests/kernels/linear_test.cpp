// SPDX-License-Identifier: MIT
#include <lora/ops/linear.hpp>

#include "kernels/linear_support.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

namespace {

// Ragged on purpose: around warps, quads of rows, strips of 128 columns and passes of the batch.
const LayerSizes kLayers[] = {{1, 1, 1},      {1, 784, 10},   {2, 63, 64},    {7, 65, 63},
                              {10, 784, 101}, {10, 1300, 10}, {11, 100, 65},  {64, 64, 63},
                              {10, 1001, 99}, {3, 1, 1000},   {10, 2, 999},   {16, 1500, 31},
                              {4, 129, 129},  {10, 64, 1301}, {17, 128, 132}, {33, 10, 3},
                              {65, 10, 3},    {130, 65, 64},  {203, 130, 10}};

struct Results {
  Tensor<float> y, y_relu, dx, dx_relu, dw;
};

Results run(const LayerOperands& o, Device device) {
  const auto x = o.x.to(device), w = o.w.to(device), bias = o.bias.to(device);
  const auto dy = o.dy.to(device), relu_output = o.relu_output.to(device);
  Results r;
  ops::linear<float>(x, w, nullptr, r.y);
  ops::linear(x, w, &bias, r.y_relu, Activation::relu);
  ops::linear_backward_input(dy, w, r.dx);
  ops::linear_backward_input(dy, w, r.dx_relu, &relu_output);
  ops::linear_backward_weight(dy, x, r.dw);
  ops::linear_backward_weight(dy, x, r.dw, true);
  for (Tensor<float>* t : {&r.y, &r.y_relu, &r.dx, &r.dx_relu, &r.dw}) *t = on_cpu(*t);
  return r;
}

}  // namespace

TEST_CASE("linear on cuda is exact on small whole numbers", "[kernels][linear]") {
  std::uint64_t seed = 1000;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    const LayerOperands o(s, true, seed += 10);
    const Results cuda = run(o, Device::cuda);
    const Results cpu = run(o, Device::cpu);
    CHECK(same_bits(cuda.y, cpu.y));
    CHECK(same_bits(cuda.y_relu, cpu.y_relu));
    CHECK(same_bits(cuda.dx, cpu.dx));
    CHECK(same_bits(cuda.dx_relu, cpu.dx_relu));
    CHECK(same_bits(cuda.dw, cpu.dw));
  }
}

TEST_CASE("linear on cuda agrees with double", "[kernels][linear]") {
  std::uint64_t seed = 2000;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    const LayerOperands o(s, false, seed += 10);
    const Results cuda = run(o, Device::cuda);
    const double bound = 1.3e-6 * std::sqrt(static_cast<double>(s.in + s.out + s.batch));
    const auto x = convert<double>(o.x), w = convert<double>(o.w), bias = convert<double>(o.bias);
    const auto dy = convert<double>(o.dy), relu_output = convert<double>(o.relu_output);
    Tensor<double> expected;
    ops::linear(x, w, &bias, expected, Activation::relu);
    CHECK(max_error(cuda.y_relu, expected) <= bound);
    ops::linear_backward_input(dy, w, expected, &relu_output);
    CHECK(max_error(cuda.dx_relu, expected) <= bound);
    ops::linear_backward_weight(dy, x, expected);
    ops::linear_backward_weight(dy, x, expected, true);
    CHECK(max_error(cuda.dw, expected) <= bound);
  }
}

TEST_CASE("linear on cuda of empty batches and layers", "[kernels][linear]") {
  const Tensor<float> w({3, 5}), no_rows({0, 5}), no_columns({3, 0});
  Tensor<float> y, dx, dw;
  ops::linear<float>(on_gpu(no_rows), on_gpu(w), nullptr, y);
  CHECK(y.shape() == Shape{0, 3});
  ops::linear_backward_input(y, on_gpu(w), dx);
  CHECK(dx.shape() == Shape{0, 5});
  ops::linear_backward_weight(y, on_gpu(no_rows), dw);
  CHECK(same_bits(on_cpu(dw), w));
  const auto bias = on_gpu(Tensor<float>({3}, {1, -2, 3}));
  ops::linear(on_gpu(Tensor<float>({2, 0})), on_gpu(no_columns), &bias, y);
  CHECK(same_bits(on_cpu(y), Tensor<float>({2, 3}, {1, -2, 3, 1, -2, 3})));
}

TEST_CASE("linear on cuda takes rows at any address", "[kernels][linear]") {
  const auto table = lora::detail::cuda_backend;
  for (const LayerSizes& s : {LayerSizes{10, 132, 21}, LayerSizes{70, 36, 70}}) {
    for (const auto& [offset, padding] :
         {std::pair<index_t, index_t>{1, 0}, {0, 1}, {4, 4}, {3, 2}}) {
      INFO(text(s) << ", offset " << offset << ", padding " << padding);
      const LayerOperands o(s, true, 4000);
      EmbeddedMatrix x(o.x, offset, padding), w(o.w, offset, padding), dy(o.dy, offset, padding);
      EmbeddedMatrix y(Tensor<float>({s.batch, s.out}), offset, padding);
      EmbeddedMatrix dx(Tensor<float>({s.batch, s.in}), offset, padding);
      EmbeddedMatrix dw(Tensor<float>({s.out, s.in}), offset, padding);
      REQUIRE(table->linear(x.view(), w.view(), {nullptr, 0}, y.view(), Activation::none,
                            nullptr) == 0);
      REQUIRE(table->linear_backward_input(dy.view(), w.view(), {}, dx.view(), nullptr) == 0);
      REQUIRE(table->linear_backward_weight(dy.view(), x.view(), dw.view(), true, nullptr) == 0);
      Tensor<float> expected;
      ops::linear<float>(o.x, o.w, nullptr, expected);
      CHECK(same_bits(y.values(), expected));
      ops::linear_backward_input(o.dy, o.w, expected);
      CHECK(same_bits(dx.values(), expected));
      ops::linear_backward_weight(o.dy, o.x, expected);
      CHECK(same_bits(dw.values(), expected));
    }
  }
}
