// SPDX-License-Identifier: MIT
#include <lora/shape.hpp>

#include "support/catch.hpp"

using lora::Shape;

TEST_CASE("Shape counts its elements", "[shape]") {
  CHECK(Shape{10, 784}.numel() == 7840);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{0, 5}.numel() == 0);
  CHECK(Shape{2, 3, 4, 5}.rank() == 4);
  CHECK(Shape{2, 3}[1] == 3);
}

TEST_CASE("Shape as rows of its last size", "[shape]") {
  CHECK(Shape{2, 3, 4}.rows() == 6);
  CHECK(Shape{2, 3, 4}.cols() == 4);
  CHECK(Shape{7}.rows() == 1);
  CHECK(Shape{}.cols() == 1);
  CHECK(Shape{0, 5}.rows() == 0);
  CHECK((Shape{2, 3, 4}.with_cols(5) == Shape{2, 3, 5}));
}

TEST_CASE("Shape prints as PyTorch does", "[shape]") {
  CHECK(Shape{}.to_string() == "()");
  CHECK(Shape{7}.to_string() == "(7,)");
  CHECK(Shape{10, 784}.to_string() == "(10, 784)");
}

TEST_CASE("Shape compares sizes and rank", "[shape]") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2} != Shape{2, 1});
}

TEST_CASE("Shape refuses what cannot be a shape", "[shape]") {
  CHECK_THROWS_AS((Shape{-1, 2}), lora::ShapeError);
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5}), lora::ShapeError);
  const lora::index_t big = lora::index_t{1} << 32;
  CHECK_THROWS_WITH((Shape{big, big}), lora_test::contains("more than 2^63 - 1 elements"));
}
