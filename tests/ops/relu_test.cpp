// SPDX-License-Identifier: MIT
#include <lora/ops/relu.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("relu keeps what is above zero", "[relu]") {
  const Tensor<float> x({2, 3}, {-1, 0, 2, -0.5f, 3, -7});
  Tensor<float> y;
  ops::relu(x, y);
  CHECK(same_bits(y, Tensor<float>({2, 3}, {0, 0, 2, 0, 3, 0})));
}

TEST_CASE("relu keeps NaN and the sign of zero, as PyTorch does", "[relu]") {
  const Tensor<float> x({2}, {NAN, -0.0f});
  Tensor<float> y;
  ops::relu(x, y);
  CHECK(std::isnan(y[0]));
  CHECK(std::signbit(y[1]));
}

TEST_CASE("relu may write over its input", "[relu]") {
  Tensor<double> x({3}, {-1, 2, -3});
  ops::relu(x, x);
  CHECK(same_bits(x, Tensor<double>({3}, {0, 2, 0})));
}

TEST_CASE("relu's gradient matches finite differences", "[relu][gradient]") {
  auto x = random_tensor<double>({4, 5}, 3);
  const auto c = random_tensor<double>({4, 5}, 4);
  Tensor<double> y, dx;
  ops::relu(x, y);
  ops::relu_backward(y, c, dx);
  check_gradient(x, dx, [&] {
    Tensor<double> out;
    ops::relu(x, out);
    return dot(out, c);
  });
}

TEST_CASE("relu's gradient at zero is zero", "[relu][gradient]") {
  const Tensor<float> y({2}, {0, 1}), dy({2}, {5, 5});
  Tensor<float> dx;
  ops::relu_backward(y, dy, dx);
  CHECK(dx[0] == 0);
  CHECK(dx[1] == 5);
}

TEST_CASE("relu_backward names both shapes when they differ", "[relu][errors]") {
  Tensor<float> dx;
  CHECK_THROWS_WITH(ops::relu_backward(Tensor<float>({2, 3}), Tensor<float>({2, 4}), dx),
                    contains("relu_backward: y is (2, 3) on cpu, dy is (2, 4) on cpu"));
}
