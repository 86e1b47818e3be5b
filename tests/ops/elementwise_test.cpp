// SPDX-License-Identifier: MIT
#include <lora/ops/elementwise.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("fill writes every element", "[elementwise]") {
  Tensor<float> x({2, 3});
  ops::fill(x, 1.5);
  for (const float value : x.span()) CHECK(value == 1.5f);
}

TEST_CASE("scale multiplies every element", "[elementwise]") {
  Tensor<double> x({3}, {1, -2, 0.5});
  ops::scale(x, -2);
  CHECK(same_bits(x, Tensor<double>({3}, {-2, 4, -1})));
}

TEST_CASE("add and add_scaled add element by element", "[elementwise]") {
  const Tensor<float> x({3}, {1, 2, 3});
  Tensor<float> y({3}, {10, 20, 30});
  ops::add(x, y);
  CHECK(same_bits(y, Tensor<float>({3}, {11, 22, 33})));
  ops::add_scaled(x, y, -10);
  CHECK(same_bits(y, Tensor<float>({3}, {1, 2, 3})));
}

TEST_CASE("add_scaled needs equal shapes", "[elementwise][errors]") {
  Tensor<float> y({3});
  CHECK_THROWS_WITH(ops::add_scaled(Tensor<float>({2}), y, 1),
                    contains("add_scaled: x is (2,) on cpu, y is (3,) on cpu"));
}
