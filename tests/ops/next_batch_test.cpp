// SPDX-License-Identifier: MIT
#include <lora/ops/next_batch.hpp>

#include <lora/ops/count_errors.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("next_batch goes through the order and begins again", "[next_batch]") {
  const Tensor<std::uint8_t> images({4, 1}, {10, 20, 30, 40});
  const Tensor<std::int32_t> labels({4}, {1, 2, 3, 4});
  const Tensor<index_t> order({5}, {3, 1, 0, 2, 2});  // two whole batches of two
  Tensor<index_t> step({1});
  Tensor<double> y({2, 1});
  Tensor<std::int32_t> batch_labels;
  const auto next = [&] {
    ops::next_batch(images, labels, order, step, y, batch_labels, 0.0, 1.0 / 255);
    return std::pair(batch_labels[0], batch_labels[1]);
  };
  CHECK(next() == std::pair(4, 2));
  CHECK(y[0] == approx(40));
  CHECK(step[0] == 1);
  CHECK(next() == std::pair(1, 3));
  CHECK(y[1] == approx(30));
  CHECK(next() == std::pair(4, 2));
  CHECK(step[0] == 3);
}

TEST_CASE("next_batch refuses an order shorter than a batch", "[next_batch][errors]") {
  Tensor<index_t> step({1});
  Tensor<float> y({2, 1});
  Tensor<std::int32_t> batch_labels;
  CHECK_THROWS_WITH(ops::next_batch<float>(Tensor<std::uint8_t>({4, 1}), Tensor<std::int32_t>({4}),
                                           Tensor<index_t>({1}), step, y, batch_labels, 0, 1),
                    contains("next_batch: y is (2, 1) on cpu, order is (1,) on cpu"));
}

TEST_CASE("count_errors counts by class and adds to what is there", "[count_errors]") {
  const Tensor<std::int32_t> predictions({5}, {0, 1, 1, 2, 0}), labels({5}, {0, 2, 2, 2, -100});
  Tensor<index_t> wrong({3}, {10, 10, 10});
  ops::count_errors(predictions, labels, wrong);
  CHECK(same_bits(wrong, Tensor<index_t>({3}, {10, 10, 12})));
}

TEST_CASE("count_errors names the shapes that differ", "[count_errors][errors]") {
  Tensor<index_t> wrong({3});
  CHECK_THROWS_WITH(ops::count_errors(Tensor<std::int32_t>({5}), Tensor<std::int32_t>({4}), wrong),
                    contains("count_errors: predictions is (5,) on cpu, labels is (4,) on cpu"));
}
