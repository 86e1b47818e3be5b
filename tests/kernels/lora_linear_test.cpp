// SPDX-License-Identifier: MIT
#include <lora/ops/lora_linear.hpp>

#include "kernels/linear_support.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

namespace {

const LayerSizes kLayers[] = {
    {1, 1, 1, 1},      {10, 784, 100, 1}, {10, 1300, 10, 2}, {7, 65, 63, 4},   {2, 100, 65, 8},
    {10, 129, 64, 16}, {11, 63, 999, 1},  {10, 200, 33, 33}, {64, 64, 65, 16}, {17, 64, 1001, 3},
    {65, 65, 66, 1},   {130, 64, 65, 33}, {65, 10, 130, 8},  {100, 70, 9, 2},  {99, 33, 16, 20}};

constexpr double kScale = 2;  // exact on whole numbers

struct Results {
  Tensor<float> h, y, dh, dx;
};

Results run(const LayerOperands& o, Device device) {
  const auto x = o.x.to(device), w = o.w.to(device), bias = o.bias.to(device);
  const auto a = o.a.to(device), b = o.b.to(device), dy = o.dy.to(device);
  const auto relu_output = o.relu_output.to(device);
  Results r;
  ops::lora_linear(x, w, &bias, a, b, r.h, r.y, kScale, Activation::relu);
  ops::lora_linear_backward_input(dy, w, a, b, r.dh, &r.dx, kScale, &relu_output);
  for (Tensor<float>* t : {&r.h, &r.y, &r.dh, &r.dx}) *t = on_cpu(*t);
  return r;
}

}  // namespace

TEST_CASE("lora_linear on cuda is exact on small whole numbers", "[kernels][lora_linear]") {
  std::uint64_t seed = 5000;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    const LayerOperands o(s, true, seed += 10);
    const Results cuda = run(o, Device::cuda);
    const Results cpu = run(o, Device::cpu);
    CHECK(same_bits(cuda.h, cpu.h));
    CHECK(same_bits(cuda.y, cpu.y));
    CHECK(same_bits(cuda.dh, cpu.dh));
    CHECK(same_bits(cuda.dx, cpu.dx));
  }
}

TEST_CASE("lora_linear on cuda agrees with double", "[kernels][lora_linear]") {
  std::uint64_t seed = 6000;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    const LayerOperands o(s, false, seed += 10);
    const Results cuda = run(o, Device::cuda);
    const auto x = convert<double>(o.x), w = convert<double>(o.w), bias = convert<double>(o.bias);
    const auto a = convert<double>(o.a), b = convert<double>(o.b), dy = convert<double>(o.dy);
    const auto relu_output = convert<double>(o.relu_output);
    Tensor<double> h, y, dh, dx;
    ops::lora_linear(x, w, &bias, a, b, h, y, kScale, Activation::relu);
    ops::lora_linear_backward_input(dy, w, a, b, dh, &dx, kScale, &relu_output);
    // The low-rank term multiplies three numbers: its rounding grows with both of its sums.
    const auto in = static_cast<double>(s.in), out = static_cast<double>(s.out);
    const auto rank = static_cast<double>(s.rank);
    const double bound = 5e-7 * (1 + std::sqrt(in + out)) * (1 + std::sqrt(rank));
    CHECK(max_error(cuda.h, h) <= bound);
    CHECK(max_error(cuda.y, y) <= bound * std::sqrt(in));
    CHECK(max_error(cuda.dh, dh) <= bound);
    CHECK(max_error(cuda.dx, dx) <= bound * std::sqrt(out));
  }
}

TEST_CASE("lora_linear on cuda with B = 0 is the base, bit for bit", "[kernels][lora_linear]") {
  for (const LayerSizes& s :
       {LayerSizes{10, 784, 50, 1}, LayerSizes{10, 300, 133, 4}, LayerSizes{3, 65, 21, 16},
        LayerSizes{64, 100, 40, 33}, LayerSizes{65, 100, 40, 2}}) {
    INFO(text(s));
    const LayerOperands o(s, false, 7000);
    const auto x = on_gpu(o.x), w = on_gpu(o.w), bias = on_gpu(o.bias), a = on_gpu(o.a);
    const auto b = on_gpu(Tensor<float>(o.b.shape()));
    Tensor<float> h, y, base;
    ops::lora_linear(x, w, &bias, a, b, h, y, kScale);
    ops::linear(x, w, &bias, base);
    CHECK(same_bits(on_cpu(y), on_cpu(base)));
  }
}

TEST_CASE("lora_linear on cuda of an empty batch and of rank 0", "[kernels][lora_linear]") {
  const auto w = random_integers<float>({3, 5}, 9000), x = random_integers<float>({2, 5}, 9001);
  Tensor<float> h, y, dh, dx, expected;
  const auto no_a = on_gpu(Tensor<float>({0, 5})), no_b = on_gpu(Tensor<float>({3, 0}));
  ops::lora_linear<float>(on_gpu(x), on_gpu(w), nullptr, no_a, no_b, h, y, 1.0);
  ops::linear<float>(x, w, nullptr, expected);
  CHECK(same_bits(on_cpu(y), expected));
  ops::lora_linear_backward_input<float>(y, on_gpu(w), no_a, no_b, dh, &dx, 1.0);
  CHECK(dh.shape() == Shape{2, 0});
  const auto a = on_gpu(Tensor<float>({2, 5})), b = on_gpu(Tensor<float>({3, 2}));
  ops::lora_linear<float>(on_gpu(Tensor<float>({0, 5})), on_gpu(w), nullptr, a, b, h, y, 1.0);
  CHECK(y.shape() == Shape{0, 3});
  ops::lora_linear_backward_input<float>(y, on_gpu(w), a, b, dh, &dx, 1.0);
  CHECK(dx.shape() == Shape{0, 5});
}
