// SPDX-License-Identifier: MIT
#include <lora/nn/gelu.hpp>
#include <lora/nn/silu.hpp>

#include "support/tensors.hpp"

using namespace lora_test;

namespace {

void check_layer(lora::Module<double>& layer) {
  auto x = random_tensor<double>({3, 2, 5}, 4);
  const auto c = random_tensor<double>({3, 2, 5}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  layer.backward(c, saved);
  check_gradient(x, dx, [&] { return dot(layer.forward(x), c); });
  CHECK(same_bits(layer.clone()->forward(x), layer.forward(x)));
  CHECK(layer.clone()->to_string() == layer.to_string());
  CHECK(layer.named_parameters().empty());
}

}  // namespace

TEST_CASE("GELU and SiLU: gradients, copies, names", "[nn][gelu][silu]") {
  lora::GELU<double> exact, approximate(lora::GELUApproximation::tanh);
  lora::SiLU<double> silu;
  check_layer(exact);
  check_layer(approximate);
  check_layer(silu);
  CHECK(exact.to_string() == "GELU()");
  CHECK(approximate.to_string() == "GELU(approximate='tanh')");
  CHECK(silu.to_string() == "SiLU()");
  const Tensor<double> one({1}, {1.0});
  CHECK(exact.forward(one)[0] == approx(0.8413447460685429).epsilon(1e-15));
  CHECK(approximate.forward(one)[0] == approx(0.8411919906082768).epsilon(1e-15));
  CHECK(silu.forward(one)[0] == approx(0.7310585786300049).epsilon(1e-15));
}
