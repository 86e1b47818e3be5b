// SPDX-License-Identifier: MIT
#include <lora/io/combine_adapter_files.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::combine_adapter_files;
using lora::ValueError;
using Terms = std::vector<lora::WeightedAdapterFile<float>>;

namespace {

/// Two adapters of other ranks and scales, with one layer in common.
Terms two_adapters(std::uint64_t seed) {
  Terms terms(2);
  terms[0].name = "first";
  terms[0].weight = 0.7;
  terms[0].adapter.layers["both"] = random_layer(13, 9, 4, 2.0, seed);
  terms[0].adapter.layers["conv"] = random_conv_layer(10, {3, 2, 2}, 2, 0.5, seed + 1);
  terms[1].name = "second";
  terms[1].weight = -1.5;
  terms[1].adapter.layers["both"] = random_layer(13, 9, 3, 0.25, seed + 2);
  terms[1].adapter.layers["wte"] = random_layer(6, 31, 2, 1.0, seed + 3);
  terms[1].adapter.layers["wte"].embedding = true;
  return terms;
}

/// Σ weight · change of the layer.
Tensor<double> sum_of_changes(const Terms& terms, const std::string& path) {
  Tensor<double> sum;
  for (const auto& term : terms) {
    const auto found = term.adapter.layers.find(path);
    if (found == term.adapter.layers.end()) continue;
    const Tensor<double> change = delta(found->second);
    if (sum.empty()) sum = Tensor<double>(change.shape());
    for (index_t i = 0; i < sum.numel(); ++i) sum[i] += term.weight * change[i];
  }
  return sum;
}

}  // namespace

TEST_CASE("a combination is the sum, whatever the ranks and scales", "[combine_adapter_files]") {
  const std::uint64_t seed = GENERATE(1u, 2u, 3u);
  INFO("seed " << seed);
  const Terms terms = two_adapters(seed);
  const auto combined = combine_adapter_files(terms);
  REQUIRE(combined.adapter.layers.size() == 3);
  for (const auto& [path, layer] : combined.adapter.layers) {
    INFO(path);
    CHECK(layer.scale == 1);
    CHECK(layer.lora_alpha == static_cast<double>(layer.rank()));
    CHECK(layer.rank() == (path == "both" ? 7 : 2));
    CHECK(layer.embedding == (path == "wte"));
    CHECK(relative_distance(delta(layer), sum_of_changes(terms, path)) < 1e-6);
  }
  CHECK(combined.adapter.config.r == 2);
  CHECK(combined.adapter.config.rank_pattern == std::map<std::string, int>{{"^both", 7}});
  CHECK(combined.layers[0].kept == 1);
}

TEST_CASE("a combination cut to a rank is nearest to the sum", "[combine_adapter_files]") {
  const std::uint64_t seed = GENERATE(1u, 2u);
  const index_t rank = GENERATE(1, 3, 5, 7, 20);
  INFO("seed " << seed << ", rank " << rank);
  const Terms terms = two_adapters(seed);
  const auto combined = combine_adapter_files(terms, rank);
  for (const auto& facts : combined.layers) {
    INFO(facts.path);
    const auto& layer = combined.adapter.layers.at(facts.path);
    const Tensor<double> sum = sum_of_changes(terms, facts.path);
    const auto s = lora::linalg::svd(sum).s;
    double rest = 0, all = 0;
    for (index_t i = 0; i < s.numel(); ++i) {
      all += s[i] * s[i];
      if (i >= rank) rest += s[i] * s[i];
    }
    CHECK(layer.rank() == std::min<index_t>(rank, facts.path == "both" ? 7 : 2));
    CHECK(facts.to == layer.rank());
    CHECK(facts.kept == Approx(1 - rest / all).margin(1e-5));
    CHECK(distance(delta(layer), sum) == Approx(std::sqrt(rest)).margin(1e-4));
  }
}

TEST_CASE("what the adapters agree on stays in the configuration", "[combine_adapter_files]") {
  Terms terms = two_adapters(1);
  for (auto& term : terms) {
    term.adapter.config.base_model_name_or_path = "model";
    term.adapter.config.task_type = "CAUSAL_LM";
    term.adapter.config.use_rslora = true;
  }
  terms[1].adapter.config.task_type = "SEQ_CLS";
  const auto config = combine_adapter_files(terms).adapter.config;
  CHECK(config.base_model_name_or_path == "model");
  CHECK(config.task_type.empty());
  CHECK_FALSE(config.use_rslora);
}

TEST_CASE("a combination of one rank is read back", "[combine_adapter_files]") {
  Terms terms(2);
  terms[0].adapter.layers["a"] = random_layer(7, 5, 2, 2, 1);
  terms[1].adapter.layers["a"] = random_layer(7, 5, 4, 0.5, 2);
  const auto combined = combine_adapter_files(terms, 3);
  const TemporaryFolder folder;
  lora::write_adapter_file(folder / "sum", combined.adapter);
  const auto read = lora::read_adapter_file<float>(folder / "sum");
  CHECK(read.layers.at("a").scale == 1);
  CHECK(same_bits(read.layers.at("a").lora_B, combined.adapter.layers.at("a").lora_B));
}

TEST_CASE("what is no sum of products is refused by name", "[combine_adapter_files][errors]") {
  const auto refuse = [](const Terms& terms, const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(combine_adapter_files(terms), lora::Error);
    CHECK_THROWS_WITH(combine_adapter_files(terms), contains(why));
  };
  Terms terms = two_adapters(1);
  CHECK_THROWS_AS(combine_adapter_files(Terms{}), ValueError);
  CHECK_THROWS_AS(combine_adapter_files(terms, 0), ValueError);

  terms[1].weight = INFINITY;
  refuse(terms, "the weight of second is inf");
  terms = two_adapters(1);
  terms[1].adapter.layers["both"].magnitude = Tensor<float>({13});
  refuse(terms, "second has DoRA in both");
  terms = two_adapters(1);
  terms[0].adapter.layers["both"].lora_B_bias = Tensor<float>({13});
  refuse(terms, "first has a lora_bias in both");
  terms = two_adapters(1);
  terms[0].adapter.replaced["head.weight"] = Tensor<float>({1});
  refuse(terms, "first replaces head.weight");
  terms = two_adapters(1);
  terms[0].adapter.layers["conv"].lora_B = Tensor<float>({10, 1, 1, 1});
  refuse(terms, "first: conv is an adapter of a convolution with groups");
  terms = two_adapters(1);
  terms[1].adapter.layers["both"].embedding = true;
  refuse(terms, "they must be adapters of one module");
  for (const auto& other : {random_layer(12, 9, 3, 1, 1), random_layer(13, 8, 3, 1, 1),
                            random_conv_layer(13, {3, 3, 1}, 3, 1, 1)}) {
    terms = two_adapters(1);
    terms[1].adapter.layers["both"] = other;
    refuse(terms, "both has lora_A " + other.lora_A.shape().to_string());
  }
}
