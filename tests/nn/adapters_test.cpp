// SPDX-License-Identifier: MIT
#include <lora/nn/adapters.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

/// Four adapters of different kinds and ranks on one small network: "left" is on linear1 alone.
template <class T>
lora::Sequential<T> crowded_net() {
  auto net = small_net<T>(1, 9, 8, 7);
  lora::adapt(net, {.r = 3, .lora_alpha = 5}, "plain");
  lora::add_adapter(net, "dora", {.r = 2, .lora_alpha = 3, .use_dora = true, .seed = 1});
  lora::add_adapter(net, "left", {.r = 1, .target_modules = {"linear1"}, .seed = 2});
  lora::add_adapter(net, "biased",
                    {.r = 2, .bias = lora::LoRABias::lora_only, .lora_bias = true, .seed = 3});
  for (const char* name : {"plain", "dora", "left", "biased"}) {
    randomize_adapter(net, name, static_cast<std::uint64_t>(name[0]));
  }
  return net;
}

template <class T>
Tensor<T> row_of(const Tensor<T>& x, index_t i) {
  Tensor<T> row({1, x.dim(1)});
  for (index_t k = 0; k < x.dim(1); ++k) row[k] = x(i, k);
  return row;
}

}  // namespace

TEST_CASE("a model knows its adapters, in order", "[nn][adapters]") {
  auto net = crowded_net<float>();
  CHECK(lora::adapter_names(net) == std::vector<std::string>{"plain", "dora", "left", "biased"});
  const auto left = lora::adapter_parameters(net, "left");
  REQUIRE(left.size() == 2);
  CHECK(left[0].name == "linear1.lora_A.left.weight");
  CHECK(left[1].name == "linear1.lora_B.left.weight");
  CHECK(lora::adapter_parameters(net, "biased")[3].name == "linear1.lora_bias.biased.bias");
  CHECK(lora::adapter_parameters(net, "dora")[2].name ==
        "linear1.lora_magnitude_vector.dora.weight");
}

TEST_CASE("active adapters add up, each by its strength", "[nn][adapters]") {
  auto net = crowded_net<float>();
  auto& layer = lora_layer(net, 0);
  const auto x = random_tensor<float>({4, 9}, 2);
  lora::set_adapters(net, {"plain", "dora", "biased"});
  lora::set_adapter_strength(net, "plain", 0.25);
  lora::set_adapter_strength(net, "biased", -2);
  const std::vector<std::vector<lora::LoRAAdapter<float>*>> rows(
      4, {&layer.adapter("plain"), &layer.adapter("dora"), &layer.adapter("biased")});
  CHECK(max_error(layer.forward(x), reference_output(layer.base(), x, rows)) < 1e-5);
}

TEST_CASE("switching adapters is exact", "[nn][adapters]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  lora::set_adapter(net, "left");
  const Tensor<float> left = net.forward(x);
  lora::set_adapter(net, "dora");
  CHECK_FALSE(same_bits(net.forward(x), left));
  lora::set_adapter(net, "left");
  CHECK(same_bits(net.forward(x), left));
  lora::delete_adapter(net, "dora");
  CHECK(same_bits(net.forward(x), left));
  CHECK(lora::adapter_names(net) == std::vector<std::string>{"plain", "left", "biased"});
}

TEST_CASE("no adapter active is the base, bit for bit", "[nn][adapters]") {
  auto net = crowded_net<float>();
  auto base = small_net<float>(1, 9, 8, 7);
  const auto x = random_tensor<float>({4, 9}, 2);
  lora::set_adapters(net, {});
  CHECK(same_bits(net.forward(x), base.forward(x)));
  lora::set_adapter(net, "left");
  lora::delete_adapter(net, "left");
  CHECK(same_bits(net.forward(x), base.forward(x)));
}

TEST_CASE("unknown adapters are named in an error with what there is", "[nn][adapters][errors]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  const Tensor<float> before = net.forward(x);
  CHECK_THROWS_WITH(lora::set_adapters(net, {"dora", "rigth"}),
                    contains("no adapter named \"rigth\"; there are: plain, dora, left, biased"));
  CHECK_THROWS_AS(lora::delete_adapter(net, "rigth"), lora::ValueError);
  CHECK_THROWS_AS(lora::set_adapter_strength(net, "rigth", 1), lora::ValueError);
  CHECK_THROWS_WITH(lora::add_adapter(net, "dora", {}), contains("already has an adapter"));
  CHECK_THROWS_AS(lora::add_adapter(net, "a.b", {}), lora::ValueError);
  CHECK(same_bits(net.forward(x), before));
}

TEST_CASE("two adapters with biases of their own cannot be active", "[nn][adapters][errors]") {
  auto net = crowded_net<float>();
  lora::add_adapter(net, "other", {.r = 1, .bias = lora::LoRABias::lora_only});
  CHECK_THROWS_WITH(lora::set_adapters(net, {"biased", "other"}), contains("biases of their own"));
}

TEST_CASE("each row of a mixed batch goes through its own adapter", "[nn][adapters][mixed]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({9, 9}, 2);
  const std::vector<std::string> names = {"dora", "", "plain", "left",  "dora",
                                          "",     "", "left",  "biased"};
  Tensor<float> mixed;
  {
    const lora::ScopedAdapterIds scope(net, lora::adapter_ids(net, names));
    mixed = net.forward(x);
  }
  for (index_t i = 0; i < 9; ++i) {
    const std::string& name = names[static_cast<std::size_t>(i)];
    lora::set_adapters(net,
                       name.empty() ? std::vector<std::string>{} : std::vector<std::string>{name});
    INFO("row " << i << ", adapter \"" << name << "\"");
    CHECK(max_error(row_of(mixed, i), net.forward(row_of(x, i))) < 1e-5);
  }
}

TEST_CASE("a mixed batch does not care which adapters are active", "[nn][adapters][mixed]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  const lora::ScopedAdapterIds scope(net, std::vector<std::int32_t>{0, 1, -1, 3});
  const Tensor<float> mixed = net.forward(x);
  lora::set_adapter(net, "left");
  CHECK(same_bits(net.forward(x), mixed));
  const lora::ScopedDisable off(net);
  auto base = small_net<float>(1, 9, 8, 7);
  CHECK(same_bits(net.forward(x), base.forward(x)));
}

TEST_CASE("training a mixed batch gives each adapter its rows' gradients",
          "[nn][adapters][mixed][gradient]") {
  auto net = crowded_net<double>();
  const auto x = random_tensor<double>({6, 9}, 2);
  const auto c = random_tensor<double>({6, 7}, 3);
  const std::vector<std::int32_t> ids = {1, 0, -1, 3, 1, 2};
  lora::Saved<double> saved;
  Tensor<double> dx;
  {
    const lora::ScopedAdapterIds scope(net, ids);
    net.forward(x, saved);
    net.backward(c, saved, &dx);
  }
  std::vector<Tensor<double>> mixed;
  std::vector<lora::Parameter<double>*> learning;
  for (auto* parameter : net.parameters()) {
    if (!parameter->trainable) continue;
    learning.push_back(parameter);
    REQUIRE_FALSE(parameter->grad.empty());
    mixed.push_back(parameter->grad.dense());
    parameter->grad = {};
  }
  // The same rows one at a time, whose gradients add up.
  const std::vector<std::string> names = lora::adapter_names(net);
  for (index_t i = 0; i < 6; ++i) {
    const std::int32_t id = ids[static_cast<std::size_t>(i)];
    lora::set_adapters(net, id < 0 ? std::vector<std::string>{}
                                   : std::vector<std::string>{names[static_cast<std::size_t>(id)]});
    const auto row = row_of(x, i);
    Tensor<double> row_dx;
    net.forward(row, saved);
    net.backward(row_of(c, i), saved, &row_dx);
    INFO("row " << i);
    CHECK(max_error(row_of(dx, i), row_dx) < 1e-12);
  }
  for (std::size_t i = 0; i < learning.size(); ++i) {
    INFO("parameter " << i << " of shape " << learning[i]->value.shape().to_string());
    CHECK(max_error(mixed[i], learning[i]->grad.dense()) < 1e-12);
  }
}

TEST_CASE("ids that fit nothing are errors", "[nn][adapters][mixed][errors]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  const auto scope_of = [&](std::vector<std::int32_t> ids) { lora::ScopedAdapterIds(net, ids); };
  CHECK_THROWS_WITH(scope_of({0, 4}), contains("row 1 has adapter id 4, expected -1 to 3"));
  CHECK_THROWS_AS(scope_of({-2}), lora::ValueError);
  CHECK_THROWS_WITH(lora::adapter_ids(net, {"plain", "plane"}), contains("\"plane\""));
  const lora::ScopedAdapterIds scope(net, std::vector<std::int32_t>{0, 1});
  CHECK_THROWS_WITH(net.forward(x), contains("4 samples") && contains("ids for 2"));
}

TEST_CASE("a mixed batch and a merged adapter exclude each other",
          "[nn][adapters][mixed][errors]") {
  auto net = crowded_net<float>();
  lora::merge(net);
  CHECK_THROWS_WITH(lora::ScopedAdapterIds(net, std::vector<std::int32_t>{0}),
                    contains("unmerge() them first"));
}

TEST_CASE("changing what is active while merged merges that", "[nn][adapters][merge]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  const Tensor<float> before = lora_layer(net, 0).base().weight.value;
  lora::set_adapter(net, "dora");
  const Tensor<float> dora = net.forward(x);
  lora::set_adapter(net, "plain");
  lora::merge(net);
  lora::set_adapter(net, "dora");
  CHECK(lora_layer(net, 0).merged());
  CHECK(max_error(net.forward(x), dora) < 1e-5);
  lora::unmerge(net);
  CHECK(same_bits(lora_layer(net, 0).base().weight.value, before));
}

TEST_CASE("a training step updates adapters of a mixed batch alone", "[nn][adapters][mixed]") {
  auto net = crowded_net<float>();
  const auto x = random_tensor<float>({4, 9}, 2);
  lora::Adam<float> adam(net.parameters(), {.lr = 0.1});
  const Tensor<float> untouched = lora::adapter_parameters(net, "left")[0].parameter->value;
  const Tensor<float> touched = lora::adapter_parameters(net, "dora")[0].parameter->value;
  const Tensor<float> weight = lora_layer(net, 0).base().weight.value;
  lora::Saved<float> saved;
  const lora::ScopedAdapterIds scope(net, std::vector<std::int32_t>{0, 1, -1, 1});
  net.forward(x, saved);
  adam.backward_and_step(net, random_tensor<float>({4, 7}, 3), saved);
  CHECK_FALSE(same_bits(lora::adapter_parameters(net, "dora")[0].parameter->value, touched));
  CHECK(same_bits(lora_layer(net, 0).base().weight.value, weight));
  CHECK(same_bits(lora::adapter_parameters(net, "left")[0].parameter->value, untouched));
}
