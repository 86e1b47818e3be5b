// SPDX-License-Identifier: MIT
#include <lora/optim/sgd.hpp>

#include "support/models.hpp"

using namespace lora_test;
using lora::Parameter;

TEST_CASE("SGD steps against the gradient", "[optim][sgd]") {
  Parameter<double> parameter(Tensor<double>({3}, {1, 2, 3}));
  lora::SGD<double> sgd({&parameter}, {.lr = 0.5});
  parameter.grad.accumulate(Tensor<double>({3}, {2, 0, -2}));
  sgd.step();
  CHECK(same_bits(parameter.value, Tensor<double>({3}, {0, 2, 4})));
}

TEST_CASE("SGD decays weights through the gradient", "[optim][sgd]") {
  Parameter<double> parameter(Tensor<double>({1}, {8}));
  lora::SGD<double> sgd({&parameter}, {.lr = 0.5, .weight_decay = 0.25});
  parameter.grad.accumulate(Tensor<double>({1}, {2}));
  sgd.step();
  CHECK(parameter.value[0] == 8 - 0.5 * (2 + 0.25 * 8));
}

TEST_CASE("SGD on a factored gradient equals SGD on the dense one", "[optim][sgd]") {
  Parameter<float> factored(random_integers<float>({33, 45}, 1)), dense(factored.value);
  const auto dy = random_integers<float>({4, 33}, 2);
  const auto x = random_integers<float>({4, 45}, 3);
  factored.grad.accumulate_outer(dy, x);
  dense.grad.accumulate_outer(dy, x);
  (void)dense.grad.dense();
  lora::SGD<float> sgd({&factored, &dense}, {.lr = 0.25});
  REQUIRE(factored.grad.is_factored());
  sgd.step();
  CHECK(same_bits(factored.value, dense.value));
}

TEST_CASE("SGD's options may change between steps", "[optim][sgd]") {
  Parameter<double> parameter(Tensor<double>({1}, {0}));
  lora::SGD<double> sgd({&parameter}, {.lr = 1});
  for (const double lr : {1.0, 0.5}) {
    sgd.options.lr = lr;
    parameter.grad.accumulate(Tensor<double>({1}, {-1}));
    sgd.step();
  }
  CHECK(parameter.value[0] == 1.5);
}
