// SPDX-License-Identifier: MIT
#include <lora/nn/relu.hpp>

#include "support/models.hpp"

using namespace lora_test;

TEST_CASE("ReLU's gradient matches finite differences", "[nn][relu][gradient]") {
  lora::ReLU<double> layer;
  auto x = random_tensor<double>({3, 5}, 4);
  const auto c = random_tensor<double>({3, 5}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  check_gradient(x, dx, [&] { return dot(layer.forward(x), c); });
}

TEST_CASE("ReLU has no parameters", "[nn][relu]") {
  lora::ReLU<float> layer;
  CHECK(layer.named_parameters().empty());
  CHECK_FALSE(layer.has_trainable_parameters());
  CHECK(layer.to_string() == "ReLU()");
}
