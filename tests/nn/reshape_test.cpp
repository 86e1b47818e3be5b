// SPDX-License-Identifier: MIT
#include <lora/nn/reshape.hpp>

#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("Reshape and Flatten keep the elements and undo each other", "[nn][reshape]") {
  const lora::Reshape<float> images({1, 28, 28});
  const lora::Flatten<float> flatten;
  for (const index_t batch : {0, 1, 3}) {
    const auto x = random_tensor<float>({batch, 784}, 1);
    const Tensor<float> y = images.forward(x);
    CHECK(same_bits(y, Tensor<float>({batch, 1, 28, 28}, x.span())));
    CHECK(same_bits(flatten.forward(y), x));
  }
  CHECK(flatten.forward(Tensor<float>({5})).shape() == Shape{5, 1});
}

TEST_CASE("the gradient of Reshape and Flatten has their input's shape", "[nn][reshape]") {
  lora::Reshape<double> images({3, 2});
  lora::Flatten<double> flatten;
  const auto rows = random_tensor<double>({4, 6}, 1);
  const auto pictures = random_tensor<double>({4, 3, 2}, 2);
  lora::Saved<double> saved;
  Tensor<double> dx;
  images.forward(rows, saved);
  images.backward(pictures, saved, &dx);
  CHECK(same_bits(dx, Tensor<double>({4, 6}, pictures.span())));
  flatten.forward(pictures, saved);
  flatten.backward(rows, saved, &dx);
  CHECK(same_bits(dx, Tensor<double>({4, 3, 2}, rows.span())));
}

TEST_CASE("Reshape names itself and what does not fit", "[nn][reshape][errors]") {
  const lora::Reshape<float> layer({1, 28, 28});
  CHECK(layer.to_string() == "Reshape(1, 28, 28)");
  CHECK(layer.clone()->to_string() == "Reshape(1, 28, 28)");
  CHECK(lora::Flatten<float>().to_string() == "Flatten()");
  const Tensor<float> x({3, 785}), scalar{Shape{}};
  CHECK_THROWS_AS(layer.forward(x), lora::ShapeError);
  CHECK_THROWS_WITH(layer.forward(x), contains("Reshape(1, 28, 28): x is (3, 785)"));
  CHECK_THROWS_AS(lora::Flatten<float>().forward(scalar), lora::ShapeError);
  CHECK_THROWS_WITH(lora::Reshape<float>({1, 2, 3, 4}), contains("at most three sizes"));
}
