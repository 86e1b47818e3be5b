// SPDX-License-Identifier: MIT
#include <lora/ops/normalize_rows.hpp>

#include <cstdint>

#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("normalize_rows gathers and normalises", "[normalize_rows]") {
  const Tensor<std::uint8_t> images({3, 2}, {0, 255, 51, 102, 255, 0});
  const Tensor<index_t> rows({2}, {2, 0});
  Tensor<double> y;
  lora::ops::normalize_rows(images, rows, y, 0.5, 0.25);
  CHECK(same_bits(y, Tensor<double>({2, 2}, {2, -2, -2, 2})));
}

TEST_CASE("normalize_rows rounds as torchvision does", "[normalize_rows]") {
  const Tensor<std::uint8_t> images({1, 1}, {200});
  Tensor<float> y;
  lora::ops::normalize_rows(images, Tensor<index_t>({1}, {0}), y, 0.1307, 0.3081);
  const volatile float unit = 200.0f / 255.0f;
  const volatile float centred = unit - 0.1307f;
  CHECK(y[0] == centred / 0.3081f);
}

TEST_CASE("normalize_rows refuses rows that do not exist", "[normalize_rows][errors]") {
  const Tensor<std::uint8_t> images({3, 2});
  Tensor<float> y;
  CHECK_THROWS_WITH(lora::ops::normalize_rows(images, Tensor<index_t>({1}, {3}), y, 0, 1),
                    contains("row 3 of x (3, 2) on cpu does not exist"));
  CHECK_THROWS_AS(lora::ops::normalize_rows(images, Tensor<index_t>({1}, {-1}), y, 0, 1),
                  lora::ValueError);
}
