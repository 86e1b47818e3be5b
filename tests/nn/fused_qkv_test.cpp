// SPDX-License-Identifier: MIT
#include <lora/nn/causal_self_attention.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include <lora/io/checkpoint.hpp>
#include <lora/lora.hpp>

#include "support/adapters.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

// Adapters of the queries, keys and values of one fused projection, each on or off, by their paths.

using namespace lora_test;
using lora::LoRAConfig;
using Paths = std::vector<std::string>;

namespace {

constexpr index_t kDim = 6;

template <class T>
lora::Sequential<T> attention(bool fused) {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<T> net;
  net.add("attn", lora::CausalSelfAttention<T>(kDim, 2, generator, {.fused_qkv = fused}));
  return net;
}

/// Gives the parameters of `separate` the rows that they are of the fused one's, and its adapter.
template <class T>
void copy_values(lora::Module<T>& fused, lora::Module<T>& separate) {
  const auto all = fused.named_parameters();
  const auto value_of = [&](const std::string& name) -> const Tensor<T>* {
    for (const auto& named : all) {
      if (named.name == name) return &named.parameter->value;
    }
    return nullptr;
  };
  for (const auto& [name, parameter] : separate.named_parameters()) {
    INFO(name);
    std::string other = name;
    index_t part = -1;
    const std::size_t at = name.find("_proj");
    if (name.find("lora_") != name.npos) {
      other.replace(at - 1, 6, std::string("qkv_proj.") + name[at - 1]);
    } else if (name.find("out_proj") == name.npos) {
      part = static_cast<index_t>(std::string("qkv").find(name[at - 1]));
      other.replace(at - 1, 6, "qkv_proj");
    }
    const Tensor<T>* const from = value_of(other);
    REQUIRE(from);
    Tensor<T>& to = parameter->value;
    std::copy_n(from->data() + std::max<index_t>(part, 0) * to.numel(), to.numel(), to.data());
  }
}

}  // namespace

TEST_CASE("slices of a fused projection are adapted like projections of their own",
          "[nn][lora][slices]") {
  auto fused = attention<double>(true);
  auto separate = attention<double>(false);
  const LoRAConfig config{
      .r = 2, .lora_alpha = 3, .target_modules = {"q", "v"}, .rank_pattern = {{"qkv_proj.v", 1}}};
  CHECK(lora::adapt(fused, config) == Paths{"attn.qkv_proj.q", "attn.qkv_proj.v"});
  CHECK(lora::adapt(separate, {.r = 2,
                               .lora_alpha = 3,
                               .target_modules = {"q_proj", "v_proj"},
                               .rank_pattern = {{"v_proj", 1}}}) ==
        Paths{"attn.q_proj", "attn.v_proj"});
  randomize_adapter(fused, "default", 2);
  copy_values(fused, separate);
  CHECK(lora::count_parameters(fused).trainable == lora::count_parameters(separate).trainable);
  CHECK(lora::lora_layers(fused)[0].second->to_string() == "LoRALinear(6, 18, q: r=2, v: r=1)");

  const Tensor<double> x = random_tensor<double>({2, 5, kDim}, 3);
  const Tensor<double> dy = random_tensor<double>({2, 5, kDim}, 4);
  lora::Saved<double> of_fused, of_separate;
  CHECK(max_error(fused.forward(x, of_fused), separate.forward(x, of_separate)) < 1e-12);
  Tensor<double> dx, dx_separate;
  fused.backward(dy, of_fused, &dx);
  separate.backward(dy, of_separate, &dx_separate);
  CHECK(max_error(dx, dx_separate) < 1e-12);
  const auto learned = lora::adapter_parameters(fused, "default");
  const auto expected = lora::adapter_parameters(separate, "default");
  REQUIRE(learned.size() == 4);
  for (std::size_t i = 0; i < learned.size(); ++i) {
    INFO(learned[i].name);
    CHECK(max_error(learned[i].parameter->grad.dense(), expected[i].parameter->grad.dense()) <
          1e-12);
  }
  CHECK(learned[0].name == "attn.qkv_proj.q.lora_A.default.weight");
}

TEST_CASE("slices merge, switch and are deleted by the adapter's name", "[nn][lora][slices]") {
  auto net = attention<float>(true);
  lora::adapt(net, {.r = 2, .target_modules = {"q", "v"}}, "first");
  lora::add_adapter(net, "second", {.r = 3, .target_modules = {"k"}});
  randomize_adapter(net, "first", 5);
  randomize_adapter(net, "second", 6);
  CHECK(lora::adapter_names(net) == Paths{"first", "second"});
  const Tensor<float> x = random_tensor<float>({1, 4, kDim}, 7);
  const Tensor<float> with_first = net.forward(x);
  lora::merge(net);
  CHECK(max_error(net.forward(x), with_first) < 1e-5);
  lora::unmerge(net);
  CHECK(same_bits(net.forward(x), with_first));
  lora::set_adapters(net, {"first", "second"});
  CHECK(max_error(net.forward(x), with_first) > 1e-3);
  lora::delete_adapter(net, "second");
  CHECK(same_bits(net.forward(x), with_first));
  lora::set_adapter_strength(net, "first", 0);
  const Tensor<float> without = net.forward(x);
  const lora::ScopedDisable off(net);
  CHECK(max_error(net.forward(x), without) < 1e-6);
}

TEST_CASE("a slice's adapter is saved as that of a projection of its own", "[nn][lora][slices]") {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "adapter.safetensors").string();
  const LoRAConfig config{.r = 2, .target_modules = {"v"}};
  auto net = attention<float>(true);
  lora::adapt(net, config);
  randomize_adapter(net, "default", 8);
  lora::save_adapter(net, path);
  CHECK(lora::SafetensorsFile(path)
            .read<float>("base_model.model.attn.qkv_proj.v.lora_B.weight")
            .shape() == Shape{kDim, 2});
  auto other = attention<float>(true);
  lora::adapt(other, config);
  lora::load_adapter(other, path);
  const Tensor<float> x = random_tensor<float>({1, 3, kDim}, 9);
  CHECK(same_bits(other.forward(x), net.forward(x)));
}

TEST_CASE("which patterns name slices", "[nn][lora][slices][errors]") {
  auto net = attention<float>(true);
  CHECK(lora::add_adapter(net, "all", {.r = 1}) == Paths{"attn.qkv_proj", "attn.out_proj"});
  CHECK(lora::add_adapter(net, "linear", {.r = 1, .target_modules = {lora::all_linear}}) ==
        Paths{"attn.qkv_proj", "attn.out_proj"});
  CHECK_THROWS_WITH(
      lora::add_adapter(net, "both", {.r = 1, .target_modules = {"qkv_proj", "qkv_proj.q"}}),
      contains("names both attn.qkv_proj and its slice attn.qkv_proj.q"));
  CHECK_THROWS_WITH(lora::add_adapter(net, "wrong", {.r = 1, .target_modules = {"w"}}),
                    contains("there are: attn.qkv_proj, attn.qkv_proj.q, attn.qkv_proj.k, "
                             "attn.qkv_proj.v, attn.out_proj"));
  CHECK_THROWS_WITH(
      lora::add_adapter(net, "bias",
                        {.r = 1, .target_modules = {"q"}, .bias = lora::LoRABias::lora_only}),
      contains("has none of its own"));
}
