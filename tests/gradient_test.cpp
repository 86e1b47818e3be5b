// SPDX-License-Identifier: MIT
#include <lora/gradient.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::Gradient;

namespace {

Tensor<float> product(const Tensor<float>& dy, const Tensor<float>& x) {
  Tensor<float> dw;
  lora::ops::linear_backward_weight(dy, x, dw);
  return dw;
}

}  // namespace

TEST_CASE("Gradient stays factored while the factors are small", "[gradient]") {
  const auto dy = random_integers<float>({2, 20}, 1);
  const auto x = random_integers<float>({2, 30}, 2);
  Gradient<float> gradient;
  CHECK(gradient.empty());
  gradient.accumulate_outer(dy, x);
  CHECK(gradient.is_factored());
  CHECK(same_bits(gradient.dy(), dy));
  CHECK(same_bits(gradient.x(), x));
  CHECK(same_bits(gradient.dense(), product(dy, x)));
  CHECK_FALSE(gradient.is_factored());
}

TEST_CASE("Gradient accumulates factors by appending rows", "[gradient]") {
  Gradient<float> gradient;
  Tensor<float> expected({20, 30});
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const auto dy = random_integers<float>({static_cast<index_t>(seed), 20}, seed);
    const auto x = random_integers<float>({static_cast<index_t>(seed), 30}, seed + 10);
    gradient.accumulate_outer(dy, x);
    lora::ops::add(product(dy, x), expected);
  }
  CHECK(gradient.is_factored());
  CHECK(gradient.dy().shape() == Shape{6, 20});
  CHECK(same_bits(gradient.dense(), expected));
}

TEST_CASE("Gradient turns dense once the factors are no smaller", "[gradient]") {
  const auto dy = random_integers<float>({5, 20}, 1);
  const auto x = random_integers<float>({5, 30}, 2);
  Gradient<float> gradient;
  Tensor<float> expected({20, 30});
  for (int i = 0; i < 4; ++i) {
    gradient.accumulate_outer(dy, x);
    lora::ops::add(product(dy, x), expected);
  }
  CHECK_FALSE(gradient.is_factored());
  CHECK(same_bits(gradient.dense(), expected));
}

TEST_CASE("Gradient of a thin matrix is dense from the start", "[gradient]") {
  Gradient<float> gradient;
  gradient.accumulate_outer(random_tensor<float>({10, 1}, 1), random_tensor<float>({10, 784}, 2));
  CHECK_FALSE(gradient.is_factored());
  CHECK(gradient.dense().shape() == Shape{1, 784});
}

TEST_CASE("Gradient adds dense tensors to any form", "[gradient]") {
  const auto dy = random_integers<float>({2, 20}, 1);
  const auto x = random_integers<float>({2, 30}, 2);
  const auto extra = random_integers<float>({20, 30}, 3);
  Gradient<float> gradient;
  gradient.accumulate(extra);
  CHECK(same_bits(gradient.dense(), extra));
  gradient.accumulate_outer(dy, x);
  Tensor<float> expected = product(dy, x);
  lora::ops::add(extra, expected);
  CHECK(same_bits(gradient.dense(), expected));
}

TEST_CASE("Gradient sums rows for a bias", "[gradient]") {
  const Tensor<float> dy({2, 3}, {1, 2, 3, 10, 20, 30});
  Gradient<float> gradient;
  gradient.accumulate_rows(dy);
  gradient.accumulate_rows(dy);
  CHECK(same_bits(gradient.dense(), Tensor<float>({3}, {22, 44, 66})));
}

TEST_CASE("a cleared Gradient starts anew", "[gradient]") {
  const auto dy = random_integers<float>({2, 20}, 1);
  const auto x = random_integers<float>({2, 30}, 2);
  Gradient<float> gradient;
  gradient.accumulate_outer(dy, x);
  gradient.clear();
  CHECK(gradient.empty());
  CHECK_THROWS_WITH(gradient.dense(), contains("no backward pass has filled this gradient"));
  gradient.accumulate_outer(dy, x);
  CHECK(gradient.dy().shape() == Shape{2, 20});
}

TEST_CASE("Gradient refuses factors of different batches", "[gradient][errors]") {
  Gradient<float> gradient;
  CHECK_THROWS_AS(gradient.accumulate_outer(Tensor<float>({2, 20}), Tensor<float>({3, 30})),
                  lora::ShapeError);
}
