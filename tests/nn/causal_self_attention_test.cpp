// SPDX-License-Identifier: MIT
#include <lora/nn/causal_self_attention.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "support/adapters.hpp"
#include "support/attention.hpp"
#include "support/golden.hpp"

using namespace lora_test;
using lora::CausalSelfAttention;

namespace {

template <class T>
lora::Linear<T>& linear(lora::Module<T>& layer, std::size_t i) {
  return dynamic_cast<lora::Linear<T>&>(*layer.children()[i].module);
}

/// Rows [begin, begin + rows) of a matrix or elements of a vector.
template <class T>
Tensor<T> part(const Tensor<T>& x, index_t begin, index_t rows) {
  const index_t row = x.numel() / x.dim(0);
  return {x.shape().rank() == 1 ? Shape{rows} : Shape{rows, row},
          x.span().subspan(static_cast<std::size_t>(begin * row),
                           static_cast<std::size_t>(rows * row))};
}

/// The layer with one projection in place of three, and their weights.
template <class T>
CausalSelfAttention<T> fused(CausalSelfAttention<T>& layer) {
  lora::PhiloxGenerator generator(0);
  const index_t size = layer.embed_dim();
  CausalSelfAttention<T> other(size, layer.num_heads(), generator, {.fused_qkv = true});
  for (index_t i = 0; i < 3; ++i) {
    const auto& from = linear(layer, static_cast<std::size_t>(i));
    auto& to = linear(other, 0);
    std::copy_n(from.weight.value.data(), size * size, to.weight.value.data() + i * size * size);
    std::copy_n(from.bias.value.data(), size, to.bias.value.data() + i * size);
  }
  linear(other, 1) = linear(layer, 3);
  return other;
}

}  // namespace

TEST_CASE("CausalSelfAttention's children have names", "[nn][causal_self_attention]") {
  lora::PhiloxGenerator generator(1);
  CausalSelfAttention<float> layer(8, 2, generator);
  std::string names;
  for (const auto& named : layer.named_parameters()) names += named.name + " ";
  CHECK(names ==
        "q_proj.weight q_proj.bias k_proj.weight k_proj.bias v_proj.weight v_proj.bias "
        "out_proj.weight out_proj.bias ");
  CHECK(layer.to_string() == "CausalSelfAttention(8, num_heads=2)");

  CausalSelfAttention<float> other(8, 4, generator, {.bias = false, .fused_qkv = true});
  names.clear();
  for (const auto& named : other.named_parameters()) names += named.name + " ";
  CHECK(names == "qkv_proj.weight out_proj.weight ");
  CHECK(linear(other, 0).weight.value.shape() == Shape{24, 8});
  CHECK(other.to_string() == "CausalSelfAttention(8, num_heads=4, bias=false, fused_qkv=true)");
}

TEST_CASE("CausalSelfAttention's gradients match finite differences",
          "[nn][causal_self_attention][gradient]") {
  for (const bool fused_qkv : {false, true}) {
    INFO((fused_qkv ? "one projection" : "three projections") << ", seed 3");
    lora::PhiloxGenerator generator(3);
    CausalSelfAttention<double> layer(6, 2, generator, {.fused_qkv = fused_qkv});
    auto x = random_tensor<double>({2, 5, 6}, 4);
    const auto c = random_tensor<double>({2, 5, 6}, 5);
    lora::Saved<double> saved;
    Tensor<double> dx;
    layer.forward(x, saved);
    layer.backward(c, saved, &dx);
    const auto loss = [&] { return dot(layer.forward(x), c); };
    check_gradient(x, dx, loss);
    for (const auto& named : layer.named_parameters()) {
      INFO(named.name);
      check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
    }
  }
}

TEST_CASE("one projection gives what three give", "[nn][causal_self_attention]") {
  lora::PhiloxGenerator generator(7);
  CausalSelfAttention<double> three(12, 3, generator);
  CausalSelfAttention<double> one = fused(three);
  const auto x = random_tensor<double>({2, 20, 12}, 8), dy = random_tensor<double>({2, 20, 12}, 9);
  lora::Saved<double> of_three, of_one;
  Tensor<double> dx_three, dx_one;
  CHECK(max_error(three.forward(x, of_three), one.forward(x, of_one)) < 1e-14);
  three.backward(dy, of_three, &dx_three);
  one.backward(dy, of_one, &dx_one);
  CHECK(max_error(dx_three, dx_one) < 1e-13);
  const Tensor<double> gradient = linear(one, 0).weight.grad.dense();
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(max_error(linear(three, i).weight.grad.dense(),
                    part(gradient, 12 * static_cast<index_t>(i), 12)) < 1e-13);
  }
}

TEST_CASE("CausalSelfAttention is PyTorch's MultiheadAttention",
          "[nn][causal_self_attention][torch]") {
  const auto file = golden("attention");
  const auto read = [&](const std::string& name) { return file.read<float>("layer." + name); };
  lora::PhiloxGenerator generator(0);
  CausalSelfAttention<float> layer(12, 3, generator);
  for (std::size_t i = 0; i < 3; ++i) {
    const index_t row = 12 * static_cast<index_t>(i);
    linear(layer, i).weight.value = part(read("in_proj_weight"), row, 12);
    linear(layer, i).bias.value = part(read("in_proj_bias"), row, 12);
  }
  linear(layer, 3).weight.value = read("out_proj.weight");
  linear(layer, 3).bias.value = read("out_proj.bias");

  const Tensor<float> x = read("x");
  lora::Saved<float> saved;
  Tensor<float> dx;
  CHECK(max_error(layer.forward(x, saved), read("y")) < 1e-5);
  layer.backward(read("dy"), saved, &dx);
  CHECK(max_error(dx, read("dx")) < 1e-5);
  for (std::size_t i = 0; i < 3; ++i) {
    INFO("projection " << i);
    const index_t row = 12 * static_cast<index_t>(i);
    CHECK(max_error(linear(layer, i).weight.grad.dense(),
                    part(read("grad.in_proj_weight"), row, 12)) < 1e-5);
    CHECK(max_error(linear(layer, i).bias.grad.dense(), part(read("grad.in_proj_bias"), row, 12)) <
          1e-5);
  }
  CHECK(max_error(linear(layer, 3).weight.grad.dense(), read("grad.out_proj.weight")) < 1e-5);
  CHECK(max_error(linear(layer, 3).bias.grad.dense(), read("grad.out_proj.bias")) < 1e-5);
}

TEST_CASE("adapters reach the projections by path", "[nn][causal_self_attention][adapters]") {
  for (const bool fused_qkv : {false, true}) {
    lora::PhiloxGenerator generator(11);
    lora::Sequential<double> net;
    net.add("attn", CausalSelfAttention<double>(6, 2, generator, {.fused_qkv = fused_qkv}));
    auto x = random_tensor<double>({2, 7, 6}, 12);
    const auto c = random_tensor<double>({2, 7, 6}, 13);
    const Tensor<double> before = net.forward(x);
    lora::LoRAConfig config{.r = 2, .lora_alpha = 4, .target_modules = {"q_proj", "v_proj"}};
    if (fused_qkv) config.target_modules = {"qkv_proj"};
    lora::adapt(net, config);
    CHECK(same_bits(net.forward(x), before));
    randomize_adapter(net, "default", 14);
    CHECK_FALSE(same_bits(net.forward(x), before));

    lora::Saved<double> saved;
    Tensor<double> dx;
    net.forward(x, saved);
    net.backward(c, saved, &dx);
    const auto loss = [&] { return dot(net.forward(x), c); };
    check_gradient(x, dx, loss);
    std::size_t learned = 0;
    for (const auto& named : net.named_parameters()) {
      INFO(named.name);
      CHECK(named.parameter->grad.empty() == !named.parameter->trainable);
      if (!named.parameter->trainable) continue;
      check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
      ++learned;
    }
    CHECK(learned == (fused_qkv ? 2 : 4));
  }
}

TEST_CASE("attention's gradients are not computed for nobody", "[nn][causal_self_attention]") {
  lora::PhiloxGenerator generator(15);
  CausalSelfAttention<float> layer(6, 2, generator);
  for (std::size_t i = 0; i < 3; ++i) {
    layer.children()[i].module->own_parameters(
        [](const char*, lora::Parameter<float>& p) { p.trainable = false; });
  }
  const auto x = random_tensor<float>({1, 4, 6}, 16);
  lora::Saved<float> saved;
  layer.backward(layer.forward(x, saved), saved);
  CHECK_FALSE(linear(layer, 3).weight.grad.empty());
  CHECK(saved.children[0].output_gradient.empty());
  Tensor<float> dx;
  layer.backward(layer.forward(x, saved), saved, &dx);
  CHECK_FALSE(saved.children[0].output_gradient.empty());
  CHECK(linear(layer, 0).weight.grad.empty());
}

TEST_CASE("a copy of CausalSelfAttention shares nothing", "[nn][causal_self_attention]") {
  lora::PhiloxGenerator generator(17);
  CausalSelfAttention<float> layer(6, 2, generator);
  layer.eval();
  const auto copy = layer.clone();
  CHECK_FALSE(copy->training());
  const auto x = random_tensor<float>({2, 3, 6}, 18);
  const Tensor<float> before = layer.forward(x);
  CHECK(same_bits(copy->forward(x), before));
  for (auto* parameter : layer.parameters()) lora::ops::fill(parameter->value, 0.0);
  CHECK(same_bits(copy->forward(x), before));
}

TEST_CASE("CausalSelfAttention used again with the same Saved allocates nothing",
          "[nn][causal_self_attention]") {
  lora::PhiloxGenerator generator(19);
  CausalSelfAttention<float> layer(6, 2, generator);
  const auto x = random_tensor<float>({2, 3, 6}, 20), smaller = random_tensor<float>({2, 1, 6}, 21);
  lora::Saved<float> saved;
  const float* const memory = layer.forward(x, saved).data();
  const float* const heads = saved.intermediates[0].data();
  layer.forward(smaller, saved);
  CHECK(layer.forward(x, saved).data() == memory);
  CHECK(saved.intermediates[0].data() == heads);
}

TEST_CASE("CausalSelfAttention refuses what does not fit", "[nn][causal_self_attention][errors]") {
  lora::PhiloxGenerator generator(23);
  CHECK_THROWS_WITH(CausalSelfAttention<float>(10, 3, generator),
                    "CausalSelfAttention: embed_dim is 10, num_heads is 3: both must be at least "
                    "1, and num_heads must divide embed_dim");
  CHECK_THROWS_AS(CausalSelfAttention<float>(10, 0, generator), lora::ValueError);
  CHECK_THROWS_AS(CausalSelfAttention<float>(0, 1, generator), lora::ValueError);
  const CausalSelfAttention<float> layer(6, 2, generator);
  CHECK_THROWS_WITH(layer.forward(Tensor<float>({3, 6})),
                    "CausalSelfAttention(6, num_heads=2): x is (3, 6) on cpu, expected (B, T, 6)");
  CHECK_THROWS_AS(layer.forward(Tensor<float>({1, 3, 5})), lora::ShapeError);
}
