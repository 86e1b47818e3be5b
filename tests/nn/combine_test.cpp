// SPDX-License-Identifier: MIT
#include <lora/nn/combine.hpp>

#include <lora/nn/lora_init.hpp>
#include <lora/nn/resize_adapter.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

template <class T>
lora::Sequential<T> net_with_two() {
  auto net = small_net<T>(1, 30, 25, 20);
  lora::adapt(net, {.r = 3, .lora_alpha = 5}, "one");
  lora::add_adapter(net, "two", {.r = 2, .target_modules = {"linear2"}, .use_rslora = true});
  randomize_adapter(net, "one", 2);
  randomize_adapter(net, "two", 3);
  return net;
}

}  // namespace

TEST_CASE("a weighted combination is the weighted sum of the updates", "[nn][combine]") {
  auto net = net_with_two<double>();
  const auto x = random_tensor<double>({4, 30}, 4);
  lora::set_adapter_strength(net, "one", 0.7);
  lora::set_adapter_strength(net, "two", -1.5);
  lora::set_adapters(net, {"one", "two"});
  const Tensor<double> both = net.forward(x);
  lora::set_adapter_strength(net, "one", 1);
  lora::set_adapter_strength(net, "two", 1);
  lora::add_weighted_adapter(net, {"one", "two"}, {0.7, -1.5}, "sum");
  lora::set_adapter(net, "sum");
  CHECK(max_error(net.forward(x), both) < 1e-12);
  CHECK(lora_layer(net, 0).adapter("sum").rank() == 3);
  CHECK(lora_layer(net, 1).adapter("sum").rank() == 5);
}

TEST_CASE("what is no sum of products is refused", "[nn][combine][errors]") {
  auto net = net_with_two<float>();
  lora::add_adapter(net, "dora", {.r = 1, .use_dora = true});
  lora::add_adapter(net, "head", {.r = 1, .bias = lora::LoRABias::lora_only});
  const auto combine = [&](std::vector<std::string> names, std::vector<double> weights,
                           const std::string& name) {
    lora::add_weighted_adapter(net, names, weights, name);
  };
  CHECK_THROWS_WITH(combine({"one", "dora"}, {1, 1}, "sum"), contains("\"dora\" does to linear1"));
  CHECK_THROWS_WITH(combine({"head"}, {1}, "sum"), contains("not a product B A alone"));
  CHECK_THROWS_WITH(combine({"one"}, {1, 2}, "sum"), contains("1 adapters and 2 weights"));
  CHECK_THROWS_AS(combine({}, {}, "sum"), lora::ValueError);
  CHECK_THROWS_WITH(combine({"three"}, {1}, "sum"), contains("there are: one, dora, head, two"));
  CHECK_THROWS_WITH(combine({"one"}, {1}, "two"), contains("already has an adapter"));
  CHECK(lora::adapter_names(net).size() == 4);
}

TEST_CASE("converting to a plain adapter keeps the output", "[nn][combine]") {
  for (const auto& init : {lora::pissa(), lora::olora()}) {
    auto net = small_net<double>(1, 30, 25, 20);
    lora::adapt(net, {.r = 3, .lora_alpha = 5, .init_lora_weights = init});
    randomize_adapter(net, "default", 2);
    const auto x = random_tensor<double>({4, 30}, 4);
    const Tensor<double> before = net.forward(x);
    lora::convert_to_lora(net);
    const auto& adapter = lora_layer(net, 0).adapter();
    CHECK_FALSE(adapter.has_initial_values());
    CHECK(adapter.rank() == 6);
    CHECK(adapter.lora_alpha == approx(10));
    CHECK(max_error(net.forward(x), before) < 1e-12);
  }
}

TEST_CASE("resizing to the rank that is there keeps the output", "[nn][combine]") {
  auto net = net_with_two<double>();
  const auto x = random_tensor<double>({4, 30}, 4);
  lora::add_weighted_adapter(net, {"one", "one"}, {0.5, 0.5}, "twice");
  lora::set_adapter(net, "one");
  const Tensor<double> one = net.forward(x);
  lora::resize_adapter(net, "twice", 3);
  lora::set_adapter(net, "twice");
  CHECK(lora_layer(net, 0).adapter("twice").rank() == 3);
  CHECK(max_error(net.forward(x), one) < 1e-12);
}

TEST_CASE("resizing keeps the largest part of the update", "[nn][combine]") {
  auto net = net_with_two<double>();
  auto& adapter = lora_layer(net, 0).adapter("one");
  // Three orthogonal directions of sizes 4, 2, 1.
  lora::ops::fill(adapter.lora_A.value, 0);
  lora::ops::fill(adapter.lora_B.value, 0);
  for (index_t r = 0; r < 3; ++r) {
    adapter.lora_A.value(r, 5 * r) = 1;
    adapter.lora_B.value(7 * r, r) = 4 >> r;
  }
  lora::resize_adapter(net, "one", 2);
  const auto& after = lora_layer(net, 0).adapter("one");
  REQUIRE(after.rank() == 2);
  for (index_t o = 0; o < 25; ++o) {
    for (index_t k = 0; k < 30; ++k) {
      double product = 0;
      for (index_t r = 0; r < 2; ++r) {
        product += after.scale * after.lora_B.value(o, r) * after.lora_A.value(r, k);
      }
      const double kept = o == 0 && k == 0 ? 4 : o == 7 && k == 5 ? 2 : 0;
      CHECK(product == approx(kept * 5.0 / 3).margin(1e-12));
    }
  }
}

TEST_CASE("resizing refuses ranks that are no ranks", "[nn][combine][errors]") {
  auto net = net_with_two<float>();
  CHECK_THROWS_WITH(lora::resize_adapter(net, "one", 0), contains("rank 0"));
  CHECK_THROWS_AS(lora::resize_adapter(net, "one", 21), lora::ValueError);
  CHECK_THROWS_AS(lora::resize_adapter(net, "three", 1), lora::ValueError);
}
