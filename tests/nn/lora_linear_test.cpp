// SPDX-License-Identifier: MIT
#include <lora/nn/lora_linear.hpp>

#include <memory>

#include "support/models.hpp"

using namespace lora_test;
using lora::LoRAConfig;
using lora::LoRAInit;
using lora::LoRALinear;

namespace {

template <class T>
LoRALinear<T> trained_layer(index_t in, index_t out, const LoRAConfig& config) {
  lora::PhiloxGenerator generator(5);
  LoRALinear<T> layer(lora::Linear<T>(in, out, generator), config, generator);
  generator.normal(layer.adapter().lora_B.value.span(), 0.0, 0.1);
  return layer;
}

}  // namespace

TEST_CASE("LoRALinear shares the Linear it is made from", "[nn][lora]") {
  lora::PhiloxGenerator generator(1);
  const auto base = std::make_shared<lora::Linear<float>>(6, 5, generator);
  const float* weight = base->weight.value.data();
  const LoRALinear<float> layer(base, {.r = 2}, generator);
  CHECK(layer.base().weight.value.data() == weight);
  CHECK(&layer.base() == base.get());
}

TEST_CASE("LoRALinear begins as its base, bit for bit", "[nn][lora]") {
  lora::PhiloxGenerator generator(1);
  const auto base = std::make_shared<lora::Linear<float>>(30, 20, generator);
  const LoRALinear<float> layer(base, {.r = 4}, generator);
  const auto x = random_tensor<float>({5, 30}, 2);
  CHECK(same_bits(layer.forward(x), base->forward(x)));
}

TEST_CASE("LoRALinear knows rank, alpha and scale", "[nn][lora]") {
  const auto layer = trained_layer<float>(10, 10, {.r = 4, .lora_alpha = 16});
  CHECK(layer.adapter().rank() == 4);
  CHECK(layer.adapter().lora_alpha == 16);
  CHECK(layer.adapter().scale == 4);
  CHECK(layer.to_string() == "LoRALinear(10, 10, r=4)");
  CHECK(LoRAConfig{.r = 4, .lora_alpha = 16, .use_rslora = true}.scale() == 8);
}

TEST_CASE("LoRALinear's gradients match finite differences", "[nn][lora][gradient]") {
  auto layer = trained_layer<double>(6, 5, {.r = 2, .lora_alpha = 3});
  auto x = random_tensor<double>({3, 6}, 4);
  const auto c = random_tensor<double>({3, 5}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  const auto loss = [&] { return dot(layer.forward(x), c); };
  check_gradient(x, dx, loss);
  CHECK(layer.named_parameters().size() == 4);
  for (const auto& named : layer.named_parameters()) {
    INFO(named.name);
    check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
  }
}

TEST_CASE("a disabled LoRALinear's gradients match finite differences", "[nn][lora][gradient]") {
  auto layer = trained_layer<double>(6, 5, {.r = 2});
  layer.disable();
  auto x = random_tensor<double>({3, 6}, 4);
  const auto c = random_tensor<double>({3, 5}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.backward(c, saved, &dx);
  check_gradient(x, dx, [&] { return dot(layer.forward(x), c); });
  CHECK(layer.adapter().lora_A.grad.empty());
  CHECK(layer.adapter().lora_B.grad.empty());
}

TEST_CASE("a disabled LoRALinear is its base, bit for bit", "[nn][lora]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  const auto x = random_tensor<float>({5, 30}, 2);
  const Tensor<float> adapted = layer.forward(x);
  layer.disable();
  CHECK_FALSE(layer.enabled());
  CHECK(same_bits(layer.forward(x), layer.base().forward(x)));
  CHECK_FALSE(same_bits(layer.forward(x), adapted));
  layer.enable();
  CHECK(same_bits(layer.forward(x), adapted));
}

TEST_CASE("effective_weight is W + s B A while enabled, else W", "[nn][lora]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4, .lora_alpha = 2});
  const auto& [a, b] = std::tie(layer.adapter().lora_A.value, layer.adapter().lora_B.value);
  Tensor<float> expected = layer.base().weight.value;
  for (index_t o = 0; o < 20; ++o) {
    for (index_t k = 0; k < 30; ++k) {
      double sum = 0;
      for (index_t r = 0; r < 4; ++r) sum += double{b(o, r)} * 0.5 * double{a(r, k)};
      expected(o, k) = static_cast<float>(double{expected(o, k)} + sum);
    }
  }
  CHECK(same_bits(layer.effective_weight(), expected));
  layer.disable();
  CHECK(same_bits(layer.effective_weight(), layer.base().weight.value));
}

TEST_CASE("a merged LoRALinear gives the same output", "[nn][lora][merge]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4, .lora_alpha = 2});
  const auto x = random_tensor<float>({5, 30}, 2);
  const Tensor<float> apart = layer.forward(x);
  const Tensor<float> effective = layer.effective_weight();
  layer.merge();
  CHECK(layer.merged());
  CHECK(same_bits(layer.base().weight.value, effective));
  CHECK(same_bits(layer.effective_weight(), effective));
  CHECK(max_error(layer.forward(x), apart) < 1e-5);
}

TEST_CASE("unmerge brings back every bit of W", "[nn][lora][merge]") {
  // Updates of every size: far larger than W, far smaller, and denormal.
  for (const double size : {1e-42, 1e-9, 1e-3, 1.0, 1e6}) {
    INFO("lora_B of size " << size);
    auto layer = trained_layer<float>(67, 45, {.r = 3});
    lora::PhiloxGenerator(9).normal(layer.adapter().lora_B.value.span(), 0.0, size);
    const Tensor<float> before = layer.base().weight.value;
    for (int round = 0; round < 2; ++round) {
      layer.merge();
      layer.unmerge();
      CHECK(same_bits(layer.base().weight.value, before));
    }
  }
}

TEST_CASE("unmerge is exact though the adapter has changed meanwhile", "[nn][lora][merge]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  const Tensor<float> before = layer.base().weight.value;
  layer.merge();
  lora::ops::fill(layer.adapter().lora_B.value, 7);
  layer.unmerge();
  CHECK(same_bits(layer.base().weight.value, before));
}

TEST_CASE("merging twice adds the update once", "[nn][lora][merge]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  layer.merge();
  const Tensor<float> once = layer.base().weight.value;
  layer.merge();
  CHECK(same_bits(layer.base().weight.value, once));
}

TEST_CASE("a merged adapter can be disabled: the base, bit for bit", "[nn][lora][merge]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  const auto x = random_tensor<float>({5, 30}, 2);
  const Tensor<float> base = layer.base().forward(x);
  layer.merge();
  const Tensor<float> merged = layer.forward(x);
  layer.disable();
  CHECK(layer.merged());
  CHECK(same_bits(layer.forward(x), base));
  layer.enable();
  CHECK(same_bits(layer.forward(x), merged));
}

TEST_CASE("trainable, enabled and merged are independent", "[nn][lora]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  layer.adapter().lora_A.trainable = false;
  layer.disable();
  layer.merge();
  CHECK_FALSE(layer.adapter().lora_A.trainable);
  CHECK(layer.adapter().lora_B.trainable);
  CHECK_FALSE(layer.enabled());
  CHECK(layer.merged());
  layer.enable();
  CHECK_FALSE(layer.adapter().lora_A.trainable);
  CHECK(layer.merged());
  layer.unmerge();
  CHECK(layer.enabled());
}

TEST_CASE("training a merged adapter is refused", "[nn][lora][errors]") {
  auto layer = trained_layer<float>(30, 20, {.r = 4});
  const auto x = random_tensor<float>({5, 30}, 2);
  layer.merge();
  lora::Saved<float> saved;
  const Tensor<float> dy({5, 20});
  layer.forward(x, saved);
  CHECK_THROWS_WITH(layer.backward(dy, saved), contains("unmerge() it first"));
  layer.unmerge();
  layer.forward(x, saved);
  CHECK_NOTHROW(layer.backward(dy, saved));
}

TEST_CASE("lora_A starts as asked", "[nn][lora]") {
  const auto spread = [](LoRAInit init) {
    lora::PhiloxGenerator generator(3);
    const LoRALinear<double> layer(lora::Linear<double>(900, 50, generator),
                                   {.r = 4, .init_lora_weights = init}, generator);
    CHECK(same_bits(layer.adapter().lora_B.value, Tensor<double>({50, 4})));
    double square = 0;
    for (const double a : layer.adapter().lora_A.value.span()) square += a * a;
    return std::sqrt(square / static_cast<double>(layer.adapter().lora_A.value.numel()));
  };
  CHECK(spread(LoRAInit::kaiming_uniform) == approx(1 / 30.0 / std::sqrt(3.0)).epsilon(0.05));
  CHECK(spread(LoRAInit::gaussian) == approx(0.25).epsilon(0.05));
  CHECK(spread(LoRAInit::standard_normal) == approx(1).epsilon(0.05));
}

TEST_CASE("LoRALinear refuses ranks that are no ranks", "[nn][lora][errors]") {
  lora::PhiloxGenerator generator(1);
  const auto make = [&](int rank) {
    LoRALinear<float>(lora::Linear<float>(6, 5, generator), {.r = rank}, generator);
  };
  CHECK_NOTHROW(make(5));
  CHECK_THROWS_WITH(make(0), contains("r is 0 for Linear(6, 5): expected 1 to 5"));
  CHECK_THROWS_AS(make(6), lora::ValueError);
  CHECK_THROWS_AS(make(-1), lora::ValueError);
}
