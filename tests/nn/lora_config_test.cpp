// SPDX-License-Identifier: MIT
#include <lora/nn/lora_config.hpp>

#include <lora/nn/regex.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

using namespace lora_test;
using lora::LoRAConfig;
using lora::ModulePattern;

namespace {

/// blocks.{0,1}.{query, value, mlp}
lora::Sequential<float> nested_net() {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<float> blocks;
  for (const char* number : {"0", "1"}) {
    lora::Sequential<float> block;
    for (const char* name : {"query", "value", "mlp"}) {
      block.add(name, lora::Linear<float>(12, 12, generator));
    }
    blocks.add(number, std::move(block));
  }
  lora::Sequential<float> net;
  net.add("blocks", std::move(blocks));
  return net;
}

std::vector<std::string> targets(const LoRAConfig& config) {
  auto net = nested_net();
  return lora::adapt(net, config);
}

}  // namespace

TEST_CASE("a pattern is a path or its ending after a dot", "[nn][config]") {
  CHECK(ModulePattern("query").matches("query"));
  CHECK(ModulePattern("query").matches("blocks.0.query"));
  CHECK(ModulePattern("0.query").matches("blocks.0.query"));
  CHECK_FALSE(ModulePattern("query").matches("blocks.0.subquery"));
  CHECK_FALSE(ModulePattern("query").matches("query.weight"));
  CHECK(lora::all_linear.matches("anything"));
}

TEST_CASE("a regular expression matches the whole path", "[nn][config]") {
  const ModulePattern pattern = lora::regex("blocks\\.[0-9]+\\.(query|value)");
  CHECK(pattern.matches("blocks.12.value"));
  CHECK_FALSE(pattern.matches("blocks.12.mlp"));
  CHECK_FALSE(pattern.matches("net.blocks.12.value"));
  CHECK_THROWS_WITH(lora::regex("(query"), contains("\"(query\" has a '(' without its ')' at character 7"));
}

TEST_CASE("targets are chosen by name, expression, all, and less what is excluded",
          "[nn][config]") {
  using Paths = std::vector<std::string>;
  CHECK(targets({.r = 1, .target_modules = {"query"}}) ==
        Paths{"blocks.0.query", "blocks.1.query"});
  CHECK(targets({.r = 1, .target_modules = {lora::regex(".*1\\.(query|value)")}}) ==
        Paths{"blocks.1.query", "blocks.1.value"});
  CHECK(targets({.r = 1, .target_modules = {lora::all_linear}}).size() == 6);
  CHECK(targets({.r = 1, .exclude_modules = {"mlp", "blocks.0.value"}}) ==
        Paths{"blocks.0.query", "blocks.1.query", "blocks.1.value"});
}

TEST_CASE("ranks and alphas can differ by layer", "[nn][config]") {
  auto net = nested_net();
  lora::adapt(net, {.r = 2,
                    .lora_alpha = 4,
                    .rank_pattern = {{"mlp", 8}, {"blocks.1.query", 3}},
                    .alpha_pattern = {{"mlp", 16}}});
  for (const auto& [path, layer] : lora::lora_layers(net)) {
    INFO(path);
    const bool mlp = path.ends_with("mlp");
    CHECK(layer->adapter().rank() == (mlp ? 8 : path == "blocks.1.query" ? 3 : 2));
    CHECK(layer->adapter().lora_alpha == (mlp ? 16 : 4));
    CHECK(layer->adapter().scale ==
          layer->adapter().lora_alpha / static_cast<double>(layer->adapter().rank()));
  }
}

TEST_CASE("every pattern that matches nothing is an error with what there is",
          "[nn][config][errors]") {
  const auto what = [](const LoRAConfig& config) {
    auto net = nested_net();
    try {
      lora::adapt(net, config);
    } catch (const lora::ValueError& error) {
      CHECK(lora::adapter_names(net).empty());
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(what({.r = 1, .target_modules = {"quary"}}),
             contains("\"quary\" of target_modules names no layer to adapt; there are: blocks.0.query"));
  CHECK_THAT(what({.r = 1, .exclude_modules = {"quary"}}), contains("exclude_modules"));
  CHECK_THAT(what({.r = 1, .rank_pattern = {{"quary", 2}}}), contains("rank_pattern"));
  CHECK_THAT(what({.r = 1, .alpha_pattern = {{"quary", 2}}}), contains("alpha_pattern"));
  CHECK_THAT(what({.r = 1, .modules_to_save = {"quary"}}), contains("modules_to_save"));
}

TEST_CASE("settings that contradict themselves are errors", "[nn][config][errors]") {
  CHECK_THROWS_WITH(targets({.r = 1, .rank_pattern = {{"query", 2}, {"0.query", 3}}}),
                    contains("blocks.0.query is matched by two entries of rank_pattern"));
  CHECK_THROWS_WITH(targets({.r = 1, .lora_dropout = 1}), contains("lora_dropout is 1"));
  CHECK_THROWS_WITH(targets({.r = 1, .lora_alpha = NAN}), contains("lora_alpha"));
  CHECK_THROWS_WITH(targets({.r = 1, .lora_bias = true, .use_dora = true}),
                    contains("cannot be had together"));
  CHECK_THROWS_WITH(targets({.r = 1, .exclude_modules = {lora::all_linear}}),
                    contains("no Linear to adapt"));
}

TEST_CASE("bias says which biases learn", "[nn][config]") {
  const auto learning = [](lora::LoRABias bias) {
    auto net = nested_net();
    lora::adapt(net, {.r = 1, .target_modules = {"query"}, .bias = bias});
    std::vector<std::string> names;
    for (const auto& named : net.named_parameters()) {
      const bool is_bias = named.name.ends_with("bias");
      if (named.parameter->trainable && is_bias) names.push_back(named.name);
    }
    return names;
  };
  CHECK(learning(lora::LoRABias::none).empty());
  CHECK(learning(lora::LoRABias::lora_only) ==
        std::vector<std::string>{"blocks.0.query.lora_bias.default.bias",
                                 "blocks.1.query.lora_bias.default.bias"});
  CHECK(learning(lora::LoRABias::all).size() == 6);
}

TEST_CASE("biases that learn are left behind with the adapter", "[nn][config]") {
  auto net = small_net<float>(1);
  auto base = small_net<float>(1);
  const auto x = random_tensor<float>({3, 7}, 2);
  lora::adapt(net, {.r = 1, .target_modules = {"linear1"}, .bias = lora::LoRABias::all});
  randomize_adapter(net, "default", 3);
  CHECK(max_error(net.forward(x), base.forward(x)) > 1e-3);
  const lora::ScopedDisable off(net);
  CHECK(same_bits(net.forward(x), base.forward(x)));
}
