// SPDX-License-Identifier: MIT
#include <lora/ops/argmax.hpp>

#include <cstdint>

#include "support/tensors.hpp"

using namespace lora_test;

namespace {

std::int32_t argmax_of(std::initializer_list<float> row) {
  const Tensor<float> x({1, static_cast<index_t>(row.size())}, row);
  Tensor<std::int32_t> indices;
  lora::ops::argmax(x, indices);
  return indices[0];
}

}  // namespace

TEST_CASE("argmax finds the largest", "[argmax]") {
  CHECK(argmax_of({1, 5, 3}) == 1);
  CHECK(argmax_of({-5, -3, -4}) == 1);
  CHECK(argmax_of({-INFINITY, -INFINITY, -1}) == 2);
}

TEST_CASE("argmax takes the first of equals", "[argmax]") { CHECK(argmax_of({2, 7, 7, 7}) == 1); }

TEST_CASE("argmax prefers the first NaN to everything", "[argmax]") {
  CHECK(argmax_of({1, NAN, 9, NAN}) == 1);
  CHECK(argmax_of({NAN, INFINITY}) == 0);
}

TEST_CASE("argmax works row by row", "[argmax]") {
  const Tensor<double> x({3, 2}, {1, 2, 4, 3, 5, 5});
  Tensor<std::int32_t> indices;
  lora::ops::argmax(x, indices);
  CHECK(same_bits(indices, Tensor<std::int32_t>({3}, {1, 0, 0})));
}

TEST_CASE("argmax of no rows is empty, of no columns an error", "[argmax][errors]") {
  Tensor<std::int32_t> indices;
  lora::ops::argmax(Tensor<float>({0, 4}), indices);
  CHECK(indices.shape() == Shape{0});
  CHECK_THROWS_WITH(lora::ops::argmax(Tensor<float>({4, 0}), indices), contains("no columns"));
}
