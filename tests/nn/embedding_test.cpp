// SPDX-License-Identifier: MIT
#include <lora/nn/embedding.hpp>
#include <lora/nn/position_embedding.hpp>
#include <lora/torch_generator.hpp>

#include <string>

#include "support/golden.hpp"
#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("Embedding with a TorchGenerator has torch.nn.Embedding's weights",
          "[nn][embedding][torch]") {
  const auto file = golden("embedding");
  for (const auto& [vocabulary, size] : {std::pair<index_t, index_t>{5, 3}, {7, 5}, {65, 64}}) {
    const std::string name = std::to_string(vocabulary) + "_" + std::to_string(size);
    INFO(name);
    lora::TorchGenerator generator(0);
    const lora::Embedding<float> layer(vocabulary, size, generator);
    const auto expected = file.read<float>("initial_" + name);
    CHECK(max_error(layer.weight.value, expected) < 3e-7);
    if (expected.numel() < 16) CHECK(same_bits(layer.weight.value, expected));
    Tensor<float> next({4});
    generator.uniform(next.span(), 0, 1);
    CHECK(same_bits(next, file.read<float>("next_" + name)));
  }
}

TEST_CASE("Embedding agrees with PyTorch forward and backward", "[nn][embedding][torch]") {
  const auto file = golden("embedding");
  lora::PhiloxGenerator generator(1);
  lora::Embedding<float> layer(11, 6, generator);
  layer.weight.value = file.read<float>("weight");
  const auto indices = file.read<float>("indices"), dy = file.read<float>("dy");
  lora::Saved<float> saved;
  CHECK(same_bits(layer.forward(indices, saved), file.read<float>("y")));
  layer.backward(dy, saved);
  CHECK(max_error(layer.weight.grad.dense(), file.read<float>("dweight")) < 1e-5);
  layer.backward(dy, saved);
  Tensor<float> twice = file.read<float>("dweight");
  lora::ops::scale(twice, 2);
  CHECK(max_error(layer.weight.grad.dense(), twice) < 1e-5);
}

TEST_CASE("an embedding and positions learn together", "[nn][embedding][gradient]") {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<double> net;
  net.add("wte", lora::Embedding<double>(5, 3, generator))
      .add("wpe", lora::PositionEmbedding<double>(6, 3, generator));
  const Tensor<double> indices({2, 4}, {0, 3, 3, 1, 4, 0, 3, 3});
  const auto c = random_tensor<double>({2, 4, 3}, 2);
  lora::Saved<double> saved;
  net.forward(indices, saved);
  net.backward(c, saved);
  const auto parameters = net.named_parameters();
  REQUIRE(parameters.size() == 2);
  CHECK(parameters[0].name == "wte.weight");
  CHECK(parameters[1].name == "wpe.weight");
  for (const auto& named : parameters) {
    INFO(named.name);
    check_gradient(named.parameter->value, named.parameter->grad.dense(),
                   [&] { return dot(net.forward(indices), c); });
  }
}

TEST_CASE("a frozen Embedding gets no gradient, nor does an index", "[nn][embedding][errors]") {
  lora::PhiloxGenerator generator(1);
  lora::Embedding<float> layer(5, 3, generator);
  const Tensor<float> indices({2}, {4, 0});
  lora::Saved<float> saved;
  Tensor<float> dx;
  const Tensor<float> dy = layer.forward(indices, saved);
  CHECK_THROWS_WITH(layer.backward(dy, saved, &dx),
                    contains("Embedding(5, 3): its input, an index, has no gradient"));
  layer.weight.trainable = false;
  layer.backward(dy, saved);
  CHECK(layer.weight.grad.empty());
}

TEST_CASE("Embedding describes and copies itself, and refuses sizes that cannot be",
          "[nn][embedding]") {
  lora::PhiloxGenerator generator(1);
  lora::Embedding<float> layer(65, 64, generator);
  CHECK(layer.to_string() == "Embedding(65, 64)");
  CHECK(layer.num_embeddings() == 65);
  CHECK(layer.embedding_dim() == 64);
  const auto copy = layer.clone();
  const Tensor<float> index({1}, {64});
  CHECK(same_bits(copy->forward(index), layer.forward(index)));
  layer.weight.value(64, 0) += 1;
  CHECK_FALSE(same_bits(copy->forward(index), layer.forward(index)));
  CHECK_THROWS_WITH(lora::Embedding<float>(0, 3, generator), contains("num_embeddings is 0"));
  CHECK_THROWS_AS(lora::Embedding<float>(3, 0, generator), lora::ValueError);
  CHECK_THROWS_WITH(lora::Embedding<float>((1 << 24) + 1, 3, generator),
                    contains("expected 1 to 16777216"));
}

TEST_CASE("PositionEmbedding starts as GPT-2's, takes short sequences and refuses long ones",
          "[nn][position_embedding]") {
  lora::PhiloxGenerator generator(1);
  lora::PositionEmbedding<float> layer(100, 50, generator);
  CHECK(layer.to_string() == "PositionEmbedding(100, 50)");
  double squares = 0;
  for (const float p : layer.weight.value.span()) squares += double{p} * double{p};
  CHECK(std::sqrt(squares / 5000) == Approx(0.02).epsilon(0.05));
  const auto x = random_tensor<float>({2, 3, 50}, 1);
  lora::Saved<float> saved;
  Tensor<float> dx;
  layer.forward(x, saved);
  layer.weight.trainable = false;
  layer.backward(x, saved, &dx);
  CHECK(same_bits(dx, x));
  CHECK(layer.weight.grad.empty());
  CHECK(layer.clone()->to_string() == layer.to_string());
  CHECK_THROWS_AS(layer.forward(Tensor<float>({1, 101, 50})), lora::ValueError);
  CHECK_THROWS_AS(lora::PositionEmbedding<float>(0, 3, generator), lora::ValueError);
  CHECK_THROWS_AS(lora::PositionEmbedding<float>(3, 0, generator), lora::ValueError);
}
