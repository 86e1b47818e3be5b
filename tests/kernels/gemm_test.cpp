// SPDX-License-Identifier: MIT
#include "kernels/linear_support.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

// Batches of more than 64 rows take the tiled product; linear_test.cpp and the others have a few
// that are small, these meet its edges and its large tile.

namespace {

void check_forward(const LayerSizes& s, std::uint64_t seed) {
  INFO("y, " << text(s) << ", seed " << seed);
  const LayerOperands o(s, true, seed);
  const auto bias = on_gpu(o.bias);
  Tensor<float> y, expected;
  ops::linear(on_gpu(o.x), on_gpu(o.w), &bias, y, Activation::relu);
  ops::linear(o.x, o.w, &o.bias, expected, Activation::relu);
  CHECK(same_bits(on_cpu(y), expected));
}

void check_input_gradient(const LayerSizes& s, std::uint64_t seed) {
  INFO("dx, " << text(s) << ", seed " << seed);
  const LayerOperands o(s, true, seed);
  const auto relu_output = on_gpu(o.relu_output);
  Tensor<float> dx, expected;
  ops::linear_backward_input(on_gpu(o.dy), on_gpu(o.w), dx, &relu_output);
  ops::linear_backward_input(o.dy, o.w, expected, &o.relu_output);
  CHECK(same_bits(on_cpu(dx), expected));
}

void check_weight_gradient(const LayerSizes& s, std::uint64_t seed) {
  INFO("dw, " << text(s) << ", seed " << seed);
  const LayerOperands o(s, true, seed);
  Tensor<float> dw, expected;
  ops::linear_backward_weight(on_gpu(o.dy), on_gpu(o.x), dw);
  ops::linear_backward_weight(o.dy, o.x, expected);
  CHECK(same_bits(on_cpu(dw), expected));
}

}  // namespace

TEST_CASE("tiled products on cuda at the edges of tiles", "[kernels][gemm]") {
  std::uint64_t seed = 21000;
  for (const LayerSizes& s :
       {LayerSizes{65, 1, 1}, LayerSizes{100, 15, 17}, LayerSizes{127, 16, 64},
        LayerSizes{128, 63, 65}, LayerSizes{129, 128, 100}, LayerSizes{66, 130, 131}}) {
    check_forward(s, seed += 10);
    check_input_gradient(s, seed);
    check_weight_gradient(s, seed);
  }
}

// C has 12 x 11 tiles of 128 x 128, of which the last rows and columns are cut.
TEST_CASE("tiled products on cuda with the large tile", "[kernels][gemm]") {
  check_forward({1500, 20, 1300}, 22000);
  check_input_gradient({1500, 1300, 18}, 22100);
  check_weight_gradient({68, 1300, 1500}, 22200);
}

TEST_CASE("tiled products on cuda of random numbers agree with double", "[kernels][gemm]") {
  const LayerSizes s{200, 150, 170};
  const LayerOperands o(s, false, 23000);
  Tensor<float> y, dx, dw;
  ops::linear<float>(on_gpu(o.x), on_gpu(o.w), nullptr, y);
  ops::linear_backward_input(on_gpu(o.dy), on_gpu(o.w), dx);
  ops::linear_backward_weight(on_gpu(o.dy), on_gpu(o.x), dw);
  const auto x = convert<double>(o.x), w = convert<double>(o.w), dy = convert<double>(o.dy);
  Tensor<double> expected;
  ops::linear<double>(x, w, nullptr, expected);
  CHECK(max_error(on_cpu(y), expected) <= 3e-5);
  ops::linear_backward_input(dy, w, expected);
  CHECK(max_error(on_cpu(dx), expected) <= 3e-5);
  ops::linear_backward_weight(dy, x, expected);
  CHECK(max_error(on_cpu(dw), expected) <= 3e-5);
}
