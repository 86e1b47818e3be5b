// SPDX-License-Identifier: MIT
#include <lora/nn/adapt.hpp>

#include "support/models.hpp"

using namespace lora_test;

TEST_CASE("adapt puts an adapter on every Linear and freezes the rest", "[nn][adapt]") {
  auto net = small_net<float>(1);
  const auto paths = lora::adapt(net, {.r = 2});
  CHECK(paths == std::vector<std::string>{"linear1", "linear2"});
  for (const auto& named : net.named_parameters()) {
    INFO(named.name);
    CHECK(named.parameter->trainable == (named.name.find("lora_") != std::string::npos));
  }
}

TEST_CASE("adapt keeps the paths and the memory of the base", "[nn][adapt]") {
  auto net = small_net<float>(1);
  const auto before = net.named_parameters();
  lora::adapt(net, {.r = 2});
  const auto after = net.named_parameters();
  CHECK(after[0].name == before[0].name);
  CHECK(after[0].parameter == before[0].parameter);
  CHECK(after[2].name == "linear1.lora_A.default.weight");
  CHECK(after[3].name == "linear1.lora_B.default.weight");
  CHECK(after[4].parameter == before[2].parameter);
}

TEST_CASE("adapt reaches into nested models by name or by ending", "[nn][adapt]") {
  lora::Sequential<float> outer;
  outer.add("left", small_net<float>(1)).add("right", small_net<float>(2, 4, 6, 4));
  CHECK(lora::adapt(outer, {.r = 1, .target_modules = {"right.linear1", "linear2"}}) ==
        std::vector<std::string>{"left.linear2", "right.linear1", "right.linear2"});
}

TEST_CASE("adapt changes nothing when a target does not exist", "[nn][adapt][errors]") {
  auto net = small_net<float>(1);
  const auto run = [&](std::vector<lora::ModulePattern> targets) {
    lora::adapt(net, {.r = 2, .target_modules = std::move(targets)});
  };
  CHECK_THROWS_WITH(
      run({"linear1", "linear9"}),
      contains("\"linear9\" of target_modules names no layer to adapt; there are: linear1, linear2"));
  CHECK_THROWS_AS(run({"relu1"}), lora::ValueError);
  CHECK_THROWS_AS(lora::adapt(net, {.r = 5}), lora::ValueError);
  CHECK(lora::lora_layers(net).empty());
  CHECK(net.named_parameters()[0].parameter->trainable);
  lora::Sequential<float> nothing;
  CHECK_THROWS_WITH(lora::adapt(nothing, {}), contains("no Linear to adapt"));
}

TEST_CASE("adapt with a seed is reproducible", "[nn][adapt]") {
  const auto first_a = [](std::uint64_t seed) {
    auto net = small_net<float>(1);
    lora::adapt(net, {.r = 2, .seed = seed});
    return lora_layer(net, 0).adapter().lora_A.value;
  };
  CHECK(same_bits(first_a(3), first_a(3)));
  CHECK_FALSE(same_bits(first_a(3), first_a(4)));
}

TEST_CASE("mark_only_lora_as_trainable names what it froze", "[nn][adapt]") {
  auto net = small_net<float>(1);
  lora::adapt(net, {.r = 2, .target_modules = {"linear2"}});
  for (auto* parameter : net.parameters()) parameter->trainable = true;
  CHECK(
      lora::mark_only_lora_as_trainable(net) ==
      std::vector<std::string>{"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"});
  CHECK(lora_layer(net, 0).adapter().lora_A.trainable);
}

TEST_CASE("ScopedDisable gives the base model, bit for bit", "[nn][adapt]") {
  auto net = small_net<float>(1);
  const auto x = random_tensor<float>({5, 7}, 2);
  const Tensor<float> base = net.forward(x);
  lora::adapt(net, {.r = 2});
  randomize_adapters(net, 3);
  const Tensor<float> adapted = net.forward(x);
  {
    const lora::ScopedDisable off(net);
    CHECK(same_bits(net.forward(x), base));
  }
  CHECK(same_bits(net.forward(x), adapted));
  CHECK_FALSE(same_bits(base, adapted));
}

TEST_CASE("ScopedDisable nests, and keeps what was disabled before", "[nn][adapt]") {
  auto net = small_net<float>(1);
  lora::adapt(net, {.r = 2});
  lora_layer(net, 1).disable();
  {
    const lora::ScopedDisable outer(net);
    {
      const lora::ScopedDisable inner(net);
      CHECK_FALSE(lora_layer(net, 0).enabled());
    }
    CHECK_FALSE(lora_layer(net, 0).enabled());
    lora_layer(net, 0).enable();
    CHECK_FALSE(lora_layer(net, 0).enabled());
  }
  CHECK(lora_layer(net, 0).enabled());
  CHECK_FALSE(lora_layer(net, 1).enabled());
}

TEST_CASE("ScopedDisable takes merged adapters out, bit for bit", "[nn][adapt][merge]") {
  auto net = small_net<float>(1);
  const auto x = random_tensor<float>({5, 7}, 2);
  const Tensor<float> base = net.forward(x);
  lora::adapt(net, {.r = 2});
  randomize_adapters(net, 3);
  for (const auto& [path, layer] : lora::lora_layers(net)) layer->merge();
  const Tensor<float> merged = net.forward(x);
  {
    const lora::ScopedDisable off(net);
    CHECK(same_bits(net.forward(x), base));
  }
  CHECK(same_bits(net.forward(x), merged));
}

TEST_CASE("ScopedDisable works on a single layer", "[nn][adapt]") {
  lora::PhiloxGenerator generator(1);
  lora::LoRALinear<float> layer(lora::Linear<float>(4, 4, generator), {.r = 1}, generator);
  {
    const lora::ScopedDisable off(layer);
    CHECK_FALSE(layer.enabled());
  }
  CHECK(layer.enabled());
}

TEST_CASE("parameters are counted and printed as PEFT prints them", "[nn][adapt]") {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<float> net;
  net.add("linear1", lora::Linear<float>(784, 1000, generator));
  net.add("linear2", lora::Linear<float>(1000, 1500, generator));
  net.add("linear3", lora::Linear<float>(1500, 1300, generator));
  net.add("linear4", lora::Linear<float>(1300, 10, generator));
  CHECK(lora::count_parameters(net).all == 4250810);
  CHECK(lora::count_parameters(net).trainable == 4250810);
  lora::adapt(net, {.r = 1, .lora_alpha = 1});
  CHECK(lora::to_string(lora::count_parameters(net)) ==
        "trainable params: 8,394 || all params: 4,259,204 || trainable%: 0.1971");
}

TEST_CASE("an empty model has nothing to count", "[nn][adapt]") {
  lora::Sequential<float> net;
  CHECK(lora::to_string(lora::count_parameters(net)) ==
        "trainable params: 0 || all params: 0 || trainable%: 0.0000");
}

TEST_CASE("thousands are separated", "[nn][adapt]") {
  CHECK(lora::with_thousands_separators(0) == "0");
  CHECK(lora::with_thousands_separators(999) == "999");
  CHECK(lora::with_thousands_separators(1000) == "1,000");
  CHECK(lora::with_thousands_separators(-123456) == "-123,456");
  CHECK(lora::with_thousands_separators(1234567) == "1,234,567");
}
