// SPDX-License-Identifier: MIT
#include <lora/nn/linear.hpp>
#include <lora/torch_generator.hpp>

#include "support/models.hpp"

using namespace lora_test;

TEST_CASE("Linear starts uniform in one over the root of in_features", "[nn][linear]") {
  lora::PhiloxGenerator generator(1);
  const lora::Linear<float> layer(400, 50, generator);
  float largest = 0;
  for (const float w : layer.weight.value.span()) largest = std::max(largest, std::fabs(w));
  CHECK(largest <= 0.05f);
  CHECK(largest > 0.0499f);
  CHECK(layer.bias.value.shape() == Shape{50});
}

TEST_CASE("Linear with a TorchGenerator has torch.nn.Linear's weights", "[nn][linear][torch]") {
  // torch.manual_seed(0); torch.nn.Linear(784, 1000).weight[0, :3]
  lora::TorchGenerator generator(0);
  const lora::Linear<float> layer(784, 1000, generator);
  CHECK(layer.weight.value[0] == -0.000267386436f);
  CHECK(layer.weight.value[1] == 0.0191587005f);
  CHECK(layer.weight.value[2] == -0.0293944702f);
}

TEST_CASE("Linear without a bias has one parameter", "[nn][linear]") {
  lora::PhiloxGenerator generator(1);
  lora::Linear<float> layer(3, 2, generator, false);
  CHECK(layer.named_parameters().size() == 1);
  CHECK(layer.bias_value() == nullptr);
  CHECK(layer.to_string() == "Linear(3, 2, bias=false)");
  const Tensor<float> y = layer.forward(Tensor<float>({1, 3}));
  CHECK(same_bits(y, Tensor<float>({1, 2})));
}

TEST_CASE("Linear's gradients match finite differences", "[nn][linear][gradient]") {
  lora::PhiloxGenerator generator(3);
  lora::Linear<double> layer(5, 4, generator);
  auto x = random_tensor<double>({3, 5}, 4);
  const auto c = random_tensor<double>({3, 4}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  const auto loss = [&] { return dot(layer.forward(x), c); };
  check_gradient(x, dx, loss);
  check_gradient(layer.weight.value, layer.weight.grad.dense(), loss);
  check_gradient(layer.bias.value, layer.bias.grad.dense(), loss);
}

TEST_CASE("a frozen parameter gets no gradient", "[nn][linear]") {
  lora::PhiloxGenerator generator(3);
  lora::Linear<float> layer(5, 4, generator);
  layer.weight.trainable = false;
  const auto x = random_tensor<float>({3, 5}, 4);
  lora::Saved<float> saved;
  layer.backward(layer.forward(x, saved), saved);
  CHECK(layer.weight.grad.empty());
  CHECK_FALSE(layer.bias.grad.empty());
}

TEST_CASE("backward needs a forward", "[nn][errors]") {
  lora::PhiloxGenerator generator(3);
  lora::Linear<float> layer(5, 4, generator);
  lora::Saved<float> saved;
  CHECK_THROWS_WITH(layer.backward(Tensor<float>({3, 4}), saved),
                    contains("Linear(5, 4): backward before any forward"));
}

TEST_CASE("Linear refuses sizes below one", "[nn][linear][errors]") {
  lora::PhiloxGenerator generator(3);
  CHECK_THROWS_WITH(lora::Linear<float>(0, 4, generator), contains("in_features is 0"));
  CHECK_THROWS_AS(lora::Linear<float>(4, -1, generator), lora::ValueError);
}

TEST_CASE("forward with the same Saved allocates nothing new", "[nn]") {
  lora::PhiloxGenerator generator(3);
  const lora::Linear<float> layer(5, 4, generator);
  const auto x = random_tensor<float>({3, 5}, 4);
  lora::Saved<float> saved;
  const float* first = layer.forward(x, saved).data();
  CHECK(layer.forward(x, saved).data() == first);
}

TEST_CASE("Linear names equal parts of its outputs", "[nn][linear][slices]") {
  lora::PhiloxGenerator generator(3);
  lora::Linear<float> layer(5, 12, generator);
  CHECK(layer.output_slices().empty());
  const auto x = random_tensor<float>({3, 5}, 4);
  const Tensor<float> before = layer.forward(x);
  CHECK(&layer.split_outputs({"q", "k", "v"}) == &layer);
  REQUIRE(layer.output_slices().size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const lora::OutputSlice& slice = layer.output_slices()[i];
    CHECK(slice.name == std::vector<std::string>{"q", "k", "v"}[i]);
    CHECK(slice.first == static_cast<index_t>(4 * i));
    CHECK(slice.size == 4);
  }
  CHECK(same_bits(layer.forward(x), before));
  const auto copy = layer.clone();
  CHECK(dynamic_cast<lora::Linear<float>&>(*copy).output_slices().size() == 3);
}

TEST_CASE("Linear refuses parts that are no parts", "[nn][linear][slices][errors]") {
  lora::PhiloxGenerator generator(3);
  lora::Linear<float> layer(5, 12, generator);
  layer.split_outputs({"both"});
  CHECK_THROWS_WITH(layer.split_outputs({"a", "b", "c", "d", "e"}),
                    "split_outputs: Linear(5, 12): 12 outputs do not make 5 equal parts");
  CHECK_THROWS_AS(layer.split_outputs({}), lora::ValueError);
  for (const char* name : {"", "a", "a.b"}) {
    INFO('"' << name << '"');
    CHECK_THROWS_WITH(layer.split_outputs({"a", name}),
                      contains('"' + std::string(name) + "\" is no slice's name"));
  }
  CHECK(layer.output_slices().size() == 1);  // as before
}
