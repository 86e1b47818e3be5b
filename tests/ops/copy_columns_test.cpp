// SPDX-License-Identifier: MIT
#include <lora/ops/copy_columns.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("put_columns and take_columns are each other's inverse", "[copy_columns]") {
  for (const index_t rows : {0, 1, 63, 129}) {
    for (const index_t cols : {0, 1, 10, 1000}) {
      INFO(rows << " rows, " << cols << " columns");
      const auto x = random_tensor<float>({2, rows, cols}, 1);
      auto y = random_tensor<float>({2, rows, cols + 5}, 2);
      const Tensor<float> before = y;
      ops::put_columns(x, y, 3);
      for (index_t i = 0; i < 2 * rows; ++i) {
        for (index_t j = 0; j < cols + 5; ++j) {
          const bool inside = j >= 3 && j < cols + 3;
          const index_t at = i * (cols + 5) + j;
          REQUIRE(y[at] == (inside ? x[i * cols + j - 3] : before[at]));
        }
      }
      Tensor<float> back;
      ops::take_columns(y, back, 3, cols);
      CHECK(same_bits(back, x));
    }
  }
}

TEST_CASE("put_columns and take_columns refuse columns that are not there",
          "[copy_columns][errors]") {
  Tensor<float> x({2, 3}), y({2, 4});
  CHECK_THROWS_WITH(ops::put_columns(x, y, 2),
                    "put_columns: columns [2, 5) of (2, 4) on cpu do not exist");
  CHECK_THROWS_AS(ops::put_columns(x, y, -1), lora::ShapeError);
  CHECK_THROWS_WITH(ops::take_columns(x, y, 1, 3),
                    "take_columns: columns [1, 4) of (2, 3) on cpu do not exist");
  CHECK_THROWS_AS(ops::take_columns(x, y, 0, -1), lora::ShapeError);
  y = Tensor<float>({3, 4});
  CHECK_THROWS_WITH(ops::put_columns(x, y, 0), contains("all sizes but the last must be equal"));
  y = Tensor<float>({1, 2, 4});
  CHECK_THROWS_AS(ops::put_columns(x, y, 0), lora::ShapeError);
  CHECK_THROWS_AS(ops::take_columns(Tensor<float>({3}), y, 0, 1), lora::ShapeError);
}
