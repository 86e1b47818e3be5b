// SPDX-License-Identifier: MIT
#include <lora/ops/softmax_cross_entropy.hpp>

#include <cmath>
#include <cstdint>
#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("softmax_cross_entropy of equal logits is log C", "[softmax_cross_entropy]") {
  const Tensor<double> logits({2, 10});
  Tensor<double> dlogits;
  const double loss =
      lora::softmax_cross_entropy(logits, Tensor<std::int32_t>({2}, {3, 7}), dlogits);
  CHECK(loss == approx(std::log(10.0)).epsilon(1e-15));
  CHECK(dlogits(0, 3) == approx((0.1 - 1) / 2));
  CHECK(dlogits(1, 3) == approx(0.1 / 2));
}

TEST_CASE("softmax_cross_entropy does not overflow", "[softmax_cross_entropy]") {
  const Tensor<float> logits({1, 3}, {1e4f, -1e4f, 0});
  Tensor<float> dlogits;
  CHECK(lora::softmax_cross_entropy(logits, Tensor<std::int32_t>({1}, {0}), dlogits) == 0.0);
  CHECK(lora::softmax_cross_entropy(logits, Tensor<std::int32_t>({1}, {1}), dlogits) == 2e4);
}

TEST_CASE("softmax_cross_entropy's gradient matches finite differences",
          "[softmax_cross_entropy][gradient]") {
  auto logits = random_tensor<double>({5, 7}, 9);
  const Tensor<std::int32_t> labels({5}, {0, 6, 3, lora::kIgnoreIndex, 2});
  Tensor<double> dlogits;
  lora::softmax_cross_entropy(logits, labels, dlogits);
  check_gradient(logits, dlogits, [&] {
    Tensor<double> unused;
    return lora::softmax_cross_entropy(logits, labels, unused);
  });
}

TEMPLATE_TEST_CASE("softmax_cross_entropy on ragged sizes, in place or not",
                   "[softmax_cross_entropy]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 2e-6 : 1e-14;
  for (const index_t rows : {1, 10, 33}) {
    for (const index_t cols : {1, 2, 7, 10, 15, 16, 17, 31, 33, 784, 1000, 1001, 5003}) {
      INFO("logits are (" << rows << ", " << cols << "), seed 3");
      Tensor<T> logits = random_tensor<T>({rows, cols}, 3);
      lora::ops::scale(logits, 4.0);
      Tensor<std::int32_t> labels({rows});
      Tensor<double> expected({rows, cols});
      double loss = 0, counted = 0;
      for (index_t i = 0; i < rows; ++i) {
        labels[i] = i % 4 == 1 ? lora::kIgnoreIndex : static_cast<std::int32_t>(i * 31 % cols);
        counted += labels[i] >= 0;
      }
      for (index_t i = 0; i < rows; ++i) {
        if (labels[i] < 0) continue;
        double sum = 0;
        for (index_t j = 0; j < cols; ++j) sum += std::exp(static_cast<double>(logits(i, j)));
        loss += (std::log(sum) - static_cast<double>(logits(i, labels[i]))) / counted;
        for (index_t j = 0; j < cols; ++j) {
          const double share = std::exp(static_cast<double>(logits(i, j))) / sum;
          expected(i, j) = (share - (j == labels[i])) / counted;
        }
      }
      Tensor<T> dlogits;
      CHECK(lora::softmax_cross_entropy(logits, labels, dlogits) ==
            approx(loss).epsilon(tolerance).margin(tolerance));
      CHECK(max_error(dlogits, expected) < tolerance);
      lora::softmax_cross_entropy(logits, labels, logits);
      CHECK(same_bits(logits, dlogits));
    }
  }
}

TEST_CASE("softmax_cross_entropy does not depend on the number of threads",
          "[softmax_cross_entropy]") {
  const ThreadCountGuard guard;
  const auto logits = random_tensor<float>({301, 130}, 4);
  Tensor<std::int32_t> labels({301});
  for (index_t i = 0; i < 301; ++i) labels[i] = static_cast<std::int32_t>(i % 130);
  Tensor<float> dlogits, expected;
  lora::set_num_threads(1);
  const double loss = lora::softmax_cross_entropy(logits, labels, expected);
  for (const int threads : {2, 3, 8}) {
    INFO(threads << " threads");
    lora::set_num_threads(threads);
    CHECK(lora::softmax_cross_entropy(logits, labels, dlogits) == loss);
    CHECK(same_bits(dlogits, expected));
  }
}

TEST_CASE("softmax_cross_entropy averages over the rows that count", "[softmax_cross_entropy]") {
  const auto logits = random_tensor<double>({3, 4}, 5);
  const Tensor<double> first({1, 4}, logits.span().first(4));
  Tensor<double> dlogits, dfirst;
  const double loss = lora::softmax_cross_entropy(
      logits, Tensor<std::int32_t>({3}, {1, lora::kIgnoreIndex, lora::kIgnoreIndex}), dlogits);
  CHECK(loss == lora::softmax_cross_entropy(first, Tensor<std::int32_t>({1}, {1}), dfirst));
  CHECK(dlogits(0, 2) == dfirst(0, 2));
  CHECK(dlogits(1, 0) == 0);
}

TEST_CASE("softmax_cross_entropy is NaN where PyTorch's is", "[softmax_cross_entropy]") {
  Tensor<float> dlogits;
  const auto loss = [&](Tensor<float> logits, std::int32_t label) {
    return lora::softmax_cross_entropy(logits, Tensor<std::int32_t>({1}, {label}), dlogits);
  };
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(std::isnan(loss(Tensor<float>({1, 2}, {NAN, 0}), 0)));
  CHECK(std::isnan(loss(Tensor<float>({1, 2}, {0, NAN}), 0)));
  CHECK(std::isnan(loss(Tensor<float>({1, 2}, {inf, 0}), 0)));
  CHECK(std::isnan(loss(Tensor<float>({1, 2}, {1, 0}), lora::kIgnoreIndex)));
  CHECK(std::isnan(
      lora::softmax_cross_entropy(Tensor<float>({0, 2}), Tensor<std::int32_t>({0}), dlogits)));
}

TEST_CASE("softmax_cross_entropy refuses labels outside the classes",
          "[softmax_cross_entropy][errors]") {
  Tensor<float> dlogits;
  const auto run = [&](std::int32_t label) {
    lora::softmax_cross_entropy(Tensor<float>({1, 10}), Tensor<std::int32_t>({1}, {label}),
                                dlogits);
  };
  CHECK_THROWS_AS(run(10), lora::ValueError);
  CHECK_THROWS_WITH(run(255), contains("label 255 of row 0 is outside the 10 classes"));
  CHECK_THROWS_AS(run(-1), lora::ValueError);
}

TEST_CASE("softmax_cross_entropy needs a label for each row", "[softmax_cross_entropy][errors]") {
  Tensor<float> dlogits;
  CHECK_THROWS_WITH(
      lora::softmax_cross_entropy(Tensor<float>({3, 10}), Tensor<std::int32_t>({2}), dlogits),
      contains("logits is (3, 10) on cpu, labels is (2,) on cpu"));
}

TEST_CASE("the losses of steps go to a ring of slots", "[softmax_cross_entropy]") {
  const Tensor<float> logits = random_tensor<float>({3, 4}, 1);
  const Tensor<std::int32_t> labels({3}, {0, 3, 1});
  Tensor<float> dlogits;
  const double loss = lora::softmax_cross_entropy(logits, labels, dlogits);
  Tensor<double> losses({3});
  for (const index_t step : {1, 5}) {
    const Tensor<index_t> count({1}, {step});
    lora::softmax_cross_entropy(logits, labels, dlogits, losses, count);
  }
  CHECK(same_bits(losses, Tensor<double>({3}, {loss, loss, 0.0})));
  Tensor<double> none({0});
  CHECK_THROWS_AS(lora::softmax_cross_entropy(logits, labels, dlogits, none, Tensor<index_t>({1})),
                  lora::ShapeError);
}
