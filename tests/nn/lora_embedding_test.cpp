// SPDX-License-Identifier: MIT
#include <lora/nn/embedding.hpp>

#include <lora/io/checkpoint.hpp>
#include <lora/lora.hpp>

#include "support/adapters.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::LoRAConfig;

namespace {

constexpr index_t kRows = 7, kDim = 5;

template <class T>
lora::Sequential<T> embedding_net() {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<T> net;
  net.add("tokens", lora::Embedding<T>(kRows, kDim, generator));
  net.add("head", lora::Linear<T>(kDim, 3, generator));
  return net;
}

template <class T>
lora::LoRAEmbedding<T>& adapted(lora::Module<T>& net) {
  return *lora::layers_of<lora::LoRAEmbedding<T>>(net).at(0).second;
}

template <class T>
Tensor<T> indices() {
  return Tensor<T>({2, 3}, {0, 6, 3, 3, 3, 1});
}

}  // namespace

TEST_CASE("an adapted embedding adds s (B A)^T to its table", "[nn][lora][embedding]") {
  auto net = embedding_net<double>();
  lora::adapt(net, {.r = 2, .lora_alpha = 3, .target_modules = {"tokens"}});
  auto& layer = adapted(net);
  const auto before = layer.forward(indices<double>());
  CHECK(same_bits(before, layer.base().forward(indices<double>())));
  CHECK(layer.adapter().lora_A.value.shape() == Shape{2, kRows});
  CHECK(layer.adapter().lora_B.value.shape() == Shape{kDim, 2});
  CHECK(layer.to_string() == "LoRAEmbedding(7, 5, r=2)");

  randomize_adapter(net, "default", 2);
  const auto& [a, b] = std::pair(layer.adapter().lora_A.value, layer.adapter().lora_B.value);
  const Tensor<double> y = layer.forward(indices<double>());
  REQUIRE(y.shape() == Shape{2, 3, kDim});
  const Tensor<double> x = indices<double>();
  for (index_t i = 0; i < x.numel(); ++i) {
    const auto index = static_cast<index_t>(x[i]);
    for (index_t d = 0; d < kDim; ++d) {
      const double update = 1.5 * (b(d, 0) * a(0, index) + b(d, 1) * a(1, index));
      CHECK(y[i * kDim + d] == approx(layer.base().weight.value(index, d) + update));
    }
  }
}

TEST_CASE("gradients of an adapted embedding", "[nn][lora][embedding][gradient]") {
  auto net = embedding_net<double>();
  lora::adapt(net, {.r = 2, .target_modules = {"tokens"}}, "first");
  lora::add_adapter(net, "second", {.r = 1, .target_modules = {"tokens"}});
  lora::set_adapters(net, {"first", "second"});
  randomize_adapter(net, "first", 3);
  randomize_adapter(net, "second", 4);
  for (auto* parameter : net.parameters()) parameter->trainable = true;
  const Tensor<double> x = indices<double>();
  const Tensor<double> c = random_tensor<double>({2, 3, 3}, 5);
  lora::Saved<double> saved;
  net.forward(x, saved);
  net.backward(c, saved);
  for (const auto& named : net.named_parameters()) {
    INFO(named.name);
    check_gradient(named.parameter->value, named.parameter->grad.dense(),
                   [&] { return dot(net.forward(x), c); });
  }
}

TEST_CASE("an embedding merges, and its table comes back to the bit", "[nn][lora][embedding]") {
  auto net = embedding_net<float>();
  lora::adapt(net, {.r = 2, .target_modules = {"tokens"}});
  randomize_adapter(net, "default", 6);
  auto& layer = adapted(net);
  const Tensor<float> table = layer.base().weight.value;
  const Tensor<float> apart = layer.forward(indices<float>());
  lora::merge(net);
  CHECK(!same_bits(layer.base().weight.value, table));
  CHECK(max_error(layer.forward(indices<float>()), apart) < 1e-6);
  {
    const lora::ScopedDisable off(net);
    CHECK(same_bits(layer.base().weight.value, table));
  }
  lora::unmerge(net);
  CHECK(same_bits(layer.base().weight.value, table));
  CHECK(same_bits(layer.forward(indices<float>()), apart));
}

TEST_CASE("an embedding's adapter is saved under PEFT's names", "[nn][lora][embedding]") {
  const TemporaryFolder folder;
  auto net = embedding_net<float>();
  lora::adapt(net, {.r = 2, .target_modules = {"tokens"}});
  randomize_adapter(net, "default", 7);
  const std::string path = (folder.path() / "adapter.safetensors").string();
  lora::save_adapter(net, path);
  const lora::SafetensorsFile file(path);
  CHECK(file.tensors().count("base_model.model.tokens.lora_embedding_A") == 1);
  CHECK(file.tensors().count("base_model.model.tokens.lora_embedding_B") == 1);
  auto other = embedding_net<float>();
  lora::adapt(other, {.r = 2, .target_modules = {"tokens"}});
  lora::load_adapter(other, path);
  CHECK(same_bits(other.forward(indices<float>()), net.forward(indices<float>())));
}

TEST_CASE("which layers the targets of a model with an embedding are", "[nn][lora][embedding]") {
  auto net = embedding_net<float>();
  CHECK(lora::add_adapter(net, "all", {.r = 1}) == std::vector<std::string>{"head"});
  CHECK(lora::add_adapter(net, "linear", {.r = 1, .target_modules = {lora::all_linear}}) ==
        std::vector<std::string>{"head"});
  CHECK(lora::add_adapter(net, "both", {.r = 1, .target_modules = {"tokens", "head"}}) ==
        std::vector<std::string>{"tokens", "head"});
  CHECK_THROWS_WITH(lora::add_adapter(net, "wrong", {.r = 1, .target_modules = {"token"}}),
                    contains("names no layer to adapt; there are: tokens, head"));
  CHECK_THROWS_WITH(
      lora::add_adapter(net, "dora", {.r = 1, .target_modules = {"tokens"}, .use_dora = true}),
      contains("Embedding(7, 5) cannot have use_dora: only Linear can"));
  CHECK_THROWS_WITH(lora::add_adapter(net, "rank", {.r = 6, .target_modules = {"tokens"}}),
                    contains("r is 6 for Embedding(7, 5): expected 1 to 5"));
}

TEST_CASE("a layer in two places has one adapter", "[nn][lora][shared]") {
  lora::PhiloxGenerator generator(8);
  const auto shared = std::make_shared<lora::Linear<float>>(4, 4, generator);
  lora::Sequential<float> net;
  net.add("first", shared).add("relu", lora::ReLU<float>()).add("second", shared);
  CHECK(lora::adapt(net, {.r = 1}) == std::vector<std::string>{"first"});
  CHECK(net.children()[0].module == net.children()[2].module);
  CHECK(lora::count_parameters(net).trainable == 8);
  CHECK(lora::count_parameters(net).all == 28);
  lora::add_adapter(net, "other", {.r = 2});
  CHECK(net.children()[0].module == net.children()[2].module);
  CHECK(lora::adapter_parameters(net, "other").size() == 2);
}
