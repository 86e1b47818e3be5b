// SPDX-License-Identifier: MIT
#include <lora/nn/lora_linear.hpp>

#include <lora/nn/lora_init.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

// Every variant of an adapter against the formulas, written a second time in support/adapters.hpp.

using namespace lora_test;
using lora::LoRAConfig;
using lora::LoRALinear;

namespace {

struct Variant {
  const char* name;
  LoRAConfig config;
};

std::vector<Variant> variants() {
  return {
      {"plain", {.r = 3, .lora_alpha = 5}},
      {"rsLoRA", {.r = 3, .lora_alpha = 5, .use_rslora = true}},
      {"DoRA", {.r = 3, .lora_alpha = 5, .use_dora = true}},
      {"DoRA, rank 1", {.r = 1, .lora_alpha = 2, .use_dora = true}},
      {"a bias of B's", {.r = 2, .lora_alpha = 3, .lora_bias = true}},
      {"a bias of its own", {.r = 2, .bias = lora::LoRABias::lora_only}},
      {"both biases", {.r = 2, .bias = lora::LoRABias::lora_only, .lora_bias = true}},
      {"PiSSA", {.r = 2, .lora_alpha = 4, .init_lora_weights = lora::pissa()}},
      {"OLoRA", {.r = 2, .lora_alpha = 4, .init_lora_weights = lora::olora()}},
      {"DoRA, a bias of its own", {.r = 2, .bias = lora::LoRABias::lora_only, .use_dora = true}}};
}

template <class T>
LoRALinear<T> make_layer(const LoRAConfig& config, bool bias = true, index_t in = 9,
                         index_t out = 7) {
  lora::PhiloxGenerator generator(5);
  LoRALinear<T> layer(std::make_shared<lora::Linear<T>>(in, out, generator, bias));
  layer.add_adapter("default", config, generator);
  layer.set_active({"default"});
  randomize_adapter(layer, "default", 6);
  return layer;
}

template <class T>
Tensor<double> reference(LoRALinear<T>& layer, const Tensor<T>& x,
                         const std::vector<double>* norms = nullptr) {
  std::vector<std::vector<lora::LoRAAdapter<T>*>> rows(static_cast<std::size_t>(x.dim(0)),
                                                       {&layer.adapter()});
  return reference_output(layer.base(), x, rows, norms);
}

}  // namespace

TEST_CASE("every variant's output is that of its formula", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    for (const index_t batch : {0, 1, 5, 70}) {
      INFO(name << ", batch " << batch);
      auto layer = make_layer<float>(config);
      const auto x = random_tensor<float>({batch, 9}, 2);
      CHECK(max_error(layer.forward(x), reference(layer, x)) < 1e-5);
    }
    auto layer = make_layer<double>(config);
    const auto x = random_tensor<double>({5, 9}, 2);
    INFO(name << " in double");
    CHECK(max_error(layer.forward(x), reference(layer, x)) < 1e-13);
  }
}

TEST_CASE("every variant's gradients are those of its formula", "[nn][lora][gradient][variants]") {
  for (const auto& [name, config] : variants()) {
    auto layer = make_layer<double>(config);
    auto x = random_tensor<double>({4, 9}, 4);
    const auto c = random_tensor<double>({4, 7}, 5);
    lora::Saved<double> saved;
    Tensor<double> dx;
    layer.forward(x, saved);
    layer.backward(c, saved, &dx);
    // DoRA's gradient holds the norms constant.
    const bool dora = layer.adapter().uses_dora();
    const auto norms =
        dora ? reference_norms(layer.base(), layer.adapter()) : std::vector<double>{};
    const auto loss = [&] { return dot(reference(layer, x, dora ? &norms : nullptr), c); };
    INFO(name);
    check_gradient(x, dx, loss);
    for (const auto& named : lora::adapter_parameters(layer, "default")) {
      INFO(named.name);
      REQUIRE_FALSE(named.parameter->grad.empty());
      check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
    }
  }
}

TEST_CASE("gradients of two backward passes add up in every variant", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    auto layer = make_layer<double>(config);
    const auto x = random_tensor<double>({4, 9}, 4);
    const auto c = random_tensor<double>({4, 7}, 5);
    lora::Saved<double> saved;
    const auto run = [&] {
      layer.forward(x, saved);
      layer.backward(c, saved);
    };
    run();
    std::vector<Tensor<double>> once;
    for (const auto& named : lora::adapter_parameters(layer, "default")) {
      once.push_back(named.parameter->grad.dense());
    }
    run();
    std::size_t i = 0;
    for (const auto& named : lora::adapter_parameters(layer, "default")) {
      INFO(name << ", " << named.name);
      lora::ops::scale(once[i], 2.0);
      CHECK(max_error(named.parameter->grad.dense(), once[i++]) < 1e-12);
    }
  }
}

TEST_CASE("a ReLU on either side is fused in every variant", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    lora::PhiloxGenerator generator(5);
    auto net = small_net<double>(1, 9, 8, 7);
    lora::adapt(net, config, generator);
    randomize_adapter(net, "default", 6);
    auto x = random_tensor<double>({4, 9}, 4);
    const auto c = random_tensor<double>({4, 7}, 5);
    lora::Saved<double> saved;
    Tensor<double> dx;
    net.forward(x, saved);
    net.backward(c, saved, &dx);
    INFO(name);
    check_gradient(x, dx, [&] { return dot(net.forward(x), c); });
  }
}

TEST_CASE("a layer without a bias takes every variant that needs none", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    if (config.bias != lora::LoRABias::none) continue;
    auto layer = make_layer<float>(config, false);
    const auto x = random_tensor<float>({5, 9}, 2);
    INFO(name);
    CHECK(max_error(layer.forward(x), reference(layer, x)) < 1e-5);
  }
}

TEST_CASE("every variant begins as its base", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    auto net = small_net<float>(1, 9, 8, 7);
    const auto x = random_tensor<float>({5, 9}, 2);
    const Tensor<float> base = net.forward(x);
    lora::adapt(net, config);
    INFO(name);
    CHECK(max_error(net.forward(x), base) < 1e-6);
  }
}

TEST_CASE("every variant, disabled, is its base, bit for bit", "[nn][lora][variants]") {
  for (const auto& [name, config] : variants()) {
    auto layer = make_layer<float>(config);
    const auto x = random_tensor<float>({5, 9}, 2);
    layer.disable();
    INFO(name);
    CHECK(same_bits(layer.forward(x), layer.base().forward(x)));
  }
}

TEST_CASE("every variant merges and unmerges to the bit", "[nn][lora][merge][variants]") {
  for (const auto& [name, config] : variants()) {
    auto layer = make_layer<float>(config);
    const auto x = random_tensor<float>({5, 9}, 2);
    const Tensor<float> before = layer.base().weight.value;
    const Tensor<float> apart = layer.forward(x);
    const Tensor<float> effective = layer.effective_weight();
    layer.merge();
    INFO(name);
    CHECK(same_bits(layer.base().weight.value, effective));
    CHECK(max_error(layer.forward(x), apart) < 1e-5);
    layer.unmerge();
    CHECK(same_bits(layer.base().weight.value, before));
    CHECK(same_bits(layer.forward(x), apart));
  }
}

TEST_CASE("a step with DoRA allocates nothing the size of W", "[nn][lora][variants]") {
  auto layer = make_layer<float>({.r = 1, .use_dora = true}, true, 300, 200);
  const auto x = random_tensor<float>({4, 300}, 2);
  lora::Saved<float> saved;
  layer.forward(x, saved);
  layer.backward(random_tensor<float>({4, 200}, 3), saved);
  for (const auto& kept : saved.intermediates) CHECK(kept.numel() < 200 * 300 / 10);
}

TEST_CASE("dropout drops inputs of the low-rank path, and its gradients are of the same mask",
          "[nn][lora][gradient][variants]") {
  for (const bool dora : {false, true}) {
    auto layer =
        make_layer<double>({.r = 3, .lora_alpha = 5, .lora_dropout = 0.4, .use_dora = dora});
    auto& adapter = layer.adapter();
    auto x = random_tensor<double>({4, 9}, 4);
    const auto c = random_tensor<double>({4, 7}, 5);
    lora::Saved<double> saved;
    Tensor<double> dx;
    const Tensor<double> y = layer.forward(x, saved);
    layer.backward(c, saved, &dx);
    const auto norms = dora ? reference_norms(layer.base(), adapter) : std::vector<double>(7, 1.0);
    const auto reference = [&] {
      Tensor<double> dropped, output({4, 7});
      lora::ops::dropout(x, dropped, 0.4, {adapter.dropout_seed, 0, saved.random_offset});
      for (index_t i = 0; i < 4; ++i) {
        for (index_t o = 0; o < 7; ++o) {
          const double gain = dora ? adapter.magnitude.value[o] / norms[o] : 1;
          double base = 0, update = 0;
          for (index_t k = 0; k < 9; ++k) {
            base += layer.base().weight.value(o, k) * x(i, k);
            for (index_t r = 0; r < 3; ++r) {
              update += adapter.scale * adapter.lora_B.value(o, r) * adapter.lora_A.value(r, k) *
                        dropped(i, k);
            }
          }
          output(i, o) = layer.base().bias.value[o] + gain * (base + update);
        }
      }
      return output;
    };
    INFO((dora ? "DoRA" : "LoRA"));
    CHECK(max_error(y, reference()) < 1e-12);
    const auto loss = [&] { return dot(reference(), c); };
    check_gradient(x, dx, loss);
    for (const auto& named : lora::adapter_parameters(layer, "default")) {
      INFO(named.name);
      check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
    }
    CHECK_FALSE(same_bits(layer.forward(x, saved), y));  // the next pass drops others
    layer.eval();
    CHECK(same_bits(layer.forward(x), layer.forward(x)));
  }
}

TEST_CASE("adapters that drop at different rates are not trained together",
          "[nn][lora][errors][variants]") {
  lora::PhiloxGenerator generator(1);
  auto net = small_net<float>(1);
  lora::adapt(net, {.r = 1, .lora_dropout = 0.1}, "one");
  lora::add_adapter(net, "two", {.r = 1, .lora_dropout = 0.2});
  lora::set_adapters(net, {"one", "two"});
  const auto x = random_tensor<float>({3, 7}, 2);
  CHECK_THROWS_WITH(net.forward(x), contains("must have one lora_dropout; \"one\" has 0.1"));
  net.eval();
  CHECK_NOTHROW(net.forward(x));
}

TEST_CASE("a layer made directly is plain; the rest is for add_adapter", "[nn][lora][errors]") {
  lora::PhiloxGenerator generator(1);
  const auto make = [&](const LoRAConfig& config) {
    LoRALinear<float>(lora::Linear<float>(9, 7, generator), config, generator);
  };
  CHECK_NOTHROW(make({.r = 2, .use_rslora = true}));
  CHECK_THROWS_WITH(make({.r = 2, .use_dora = true}), contains("only add_adapter()"));
  CHECK_THROWS_AS(make({.r = 2, .lora_dropout = 0.1}), lora::ValueError);
}
