// SPDX-License-Identifier: MIT
#include <lora/ops/position_embedding.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("position_embedding adds a row to each position", "[position_embedding]") {
  const Tensor<float> p({3, 2}, {1, 2, 3, 4, 5, 6}), x({2, 2, 2}, {0, 0, 0, 0, 10, 10, 10, 10});
  Tensor<float> y;
  ops::position_embedding(x, p, y);
  CHECK(same_bits(y, Tensor<float>({2, 2, 2}, {1, 2, 3, 4, 11, 12, 13, 14})));
  ops::position_embedding(Tensor<float>({1, 2}), p, y);
  CHECK(same_bits(y, Tensor<float>({1, 2}, {1, 2})));
  for (const Shape shape : {Shape{0, 2, 2}, Shape{4, 0, 2}}) {
    ops::position_embedding(Tensor<float>(shape), p, y);
    CHECK(y.shape() == shape);
  }
}

TEST_CASE("position_embedding_backward sums over the batch", "[position_embedding]") {
  for (const bool accumulate : {false, true}) {
    for (const index_t batch : {0, 1, 10, 33}) {
      INFO("batch " << batch << ", accumulate " << accumulate);
      const auto dy = random_integers<float>({batch, 5, 7}, 1);
      Tensor<float> dp = random_integers<float>({6, 7}, 2);
      Tensor<float> expected = accumulate ? dp : Tensor<float>({6, 7});
      for (index_t i = 0; i < dy.numel(); ++i) expected[i % 35] += dy[i];
      ops::position_embedding_backward(dy, dp, accumulate);
      CHECK(same_bits(dp, expected));
    }
  }
}

TEST_CASE("position_embedding refuses what does not fit", "[position_embedding][errors]") {
  const Tensor<float> p({3, 2});
  Tensor<float> y;
  CHECK_THROWS_WITH(
      ops::position_embedding(Tensor<float>({1, 4, 2}), p, y),
      "position_embedding: x is (1, 4, 2) on cpu, its 4 positions are more than the 3 "
      "of p");
  CHECK_THROWS_AS(ops::position_embedding(Tensor<float>({1, 4, 2}), p, y), lora::ValueError);
  CHECK_THROWS_WITH(ops::position_embedding(Tensor<float>({1, 2, 3}), p, y),
                    contains("x is (1, 2, 3)") && contains("with one D"));
  CHECK_THROWS_AS(ops::position_embedding(Tensor<float>({2}), p, y), lora::ShapeError);
}
