// SPDX-License-Identifier: MIT
#include <limits>

#include <lora/nn/layer_norm.hpp>
#include <lora/nn/rms_norm.hpp>

#include "support/tensors.hpp"

using namespace lora_test;

namespace {

/// The gradients of the input and of all parameters against finite differences.
void check_gradients(lora::Module<double>& layer, const Shape& shape) {
  for (const auto& [name, parameter] : layer.named_parameters()) {
    parameter->value = random_tensor<double>(parameter->value.shape(), 1);
  }
  auto x = random_tensor<double>(shape, 2);
  const auto c = random_tensor<double>(shape, 3);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  const auto loss = [&] { return dot(layer.forward(x), c); };
  check_gradient(x, dx, loss);
  for (const auto& [name, parameter] : layer.named_parameters()) {
    INFO(name);
    check_gradient(parameter->value, parameter->grad.dense(), loss);
  }
}

}  // namespace

TEST_CASE("LayerNorm starts as PyTorch's and says what it is", "[nn][layer_norm]") {
  lora::LayerNorm<float> layer(64), bare(7, {.eps = 1e-6, .bias = false});
  CHECK(layer.to_string() == "LayerNorm(64, eps=1e-05)");
  CHECK(bare.to_string() == "LayerNorm(7, eps=1e-06, bias=false)");
  REQUIRE(layer.named_parameters().size() == 2);
  CHECK(layer.named_parameters()[0].name == "weight");
  CHECK(layer.named_parameters()[1].name == "bias");
  for (const float w : layer.weight.value.span()) CHECK(w == 1);
  for (const float b : layer.bias.value.span()) CHECK(b == 0);
  CHECK(bare.named_parameters().size() == 1);
  CHECK(bare.features() == 7);
}

TEST_CASE("RMSNorm starts as PyTorch's and says what it is", "[nn][rms_norm]") {
  lora::RMSNorm<float> layer(64);
  CHECK(layer.eps() == double{std::numeric_limits<float>::epsilon()});
  CHECK(lora::RMSNorm<double>(64).eps() == std::numeric_limits<double>::epsilon());
  CHECK(lora::RMSNorm<float>(64, 1e-6).to_string() == "RMSNorm(64, eps=1e-06)");
  REQUIRE(layer.named_parameters().size() == 1);
  CHECK(layer.named_parameters()[0].name == "weight");
  for (const float w : layer.weight.value.span()) CHECK(w == 1);
}

TEST_CASE("LayerNorm's and RMSNorm's gradients match finite differences",
          "[nn][layer_norm][rms_norm][gradient]") {
  for (const Shape shape : {Shape{4, 5}, Shape{2, 3, 17}}) {
    INFO("x is " << shape.to_string());
    lora::LayerNorm<double> with_bias(shape.cols()), without(shape.cols(), {.bias = false});
    lora::RMSNorm<double> rms(shape.cols(), 1e-6);
    check_gradients(with_bias, shape);
    check_gradients(without, shape);
    check_gradients(rms, shape);
  }
}

TEST_CASE("norms leave what is frozen alone, and add to what is there", "[nn][layer_norm]") {
  const auto x = random_tensor<double>({6, 5}, 1), dy = random_tensor<double>({6, 5}, 2);
  lora::LayerNorm<double> layer(5);
  lora::RMSNorm<double> rms(5);
  lora::Saved<double> saved, rms_saved;
  Tensor<double> dx, frozen_dx;
  layer.forward(x, saved);
  layer.backward(dy, saved, &dx);
  const Tensor<double> dweight = layer.weight.grad.dense(), dbias = layer.bias.grad.dense();

  // One of the two gradients is there already, the other is new.
  layer.bias.grad.clear();
  layer.backward(dy, saved);
  for (index_t j = 0; j < 5; ++j) {
    CHECK(layer.weight.grad.dense()[j] == approx(2 * dweight[j]));
    CHECK(layer.bias.grad.dense()[j] == dbias[j]);
  }

  layer.weight.grad.clear();
  layer.weight.trainable = false;
  layer.backward(dy, saved);
  CHECK(layer.weight.grad.empty());
  for (index_t j = 0; j < 5; ++j) CHECK(layer.bias.grad.dense()[j] == approx(2 * dbias[j]));

  layer.bias.grad.clear();
  layer.bias.trainable = false;
  layer.backward(dy, saved, &frozen_dx);
  layer.backward(dy, saved);
  CHECK(layer.bias.grad.empty());
  CHECK(same_bits(frozen_dx, dx));

  rms.forward(x, rms_saved);
  rms.backward(dy, rms_saved, &dx);
  const Tensor<double> once = rms.weight.grad.dense();
  rms.backward(dy, rms_saved);
  for (index_t j = 0; j < 5; ++j) CHECK(rms.weight.grad.dense()[j] == approx(2 * once[j]));
  rms.weight.grad.clear();
  rms.weight.trainable = false;
  rms.backward(dy, rms_saved, &frozen_dx);
  rms.backward(dy, rms_saved);
  CHECK(rms.weight.grad.empty());
  CHECK(same_bits(frozen_dx, dx));
}

TEST_CASE("a copy of a norm shares nothing with it", "[nn][layer_norm][rms_norm]") {
  const auto x = random_tensor<float>({3, 4}, 1);
  const auto check = [&](lora::Module<float>& layer) {
    const auto copy = layer.clone();
    const Tensor<float> before = layer.forward(x);
    CHECK(copy->to_string() == layer.to_string());
    CHECK(same_bits(copy->forward(x), before));
    lora::ops::fill(copy->parameters()[0]->value, 7.0);
    CHECK(same_bits(layer.forward(x), before));
  };
  lora::LayerNorm<float> layer(4, {.eps = 0.1});
  lora::RMSNorm<float> rms(4, 0.1);
  check(layer);
  check(rms);
}

TEST_CASE("norms refuse what they cannot be", "[nn][layer_norm][rms_norm][errors]") {
  CHECK_THROWS_WITH(lora::LayerNorm<float>(0), "LayerNorm: features is 0, it must be at least 1");
  CHECK_THROWS_AS(lora::LayerNorm<float>(0), lora::ValueError);
  CHECK_THROWS_WITH(lora::LayerNorm<float>(3, {.eps = -1}),
                    "LayerNorm: eps is -1, expected eps >= 0");
  CHECK_THROWS_WITH(lora::RMSNorm<float>(-2), "RMSNorm: features is -2, it must be at least 1");
  CHECK_THROWS_AS(lora::RMSNorm<float>(3, NAN), lora::ValueError);
}
