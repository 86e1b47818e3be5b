// SPDX-License-Identifier: MIT
#include <lora/io/resize_adapter_file.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/adapter_files.hpp"

using namespace lora_test;
using lora::AdapterFile;
using lora::ValueError;

namespace {

/// One layer whose B A has those singular values.
lora::AdapterLayer<float> with_values(index_t out, index_t in, const std::vector<double>& sigma,
                                      double scale, std::uint64_t seed) {
  const auto rank = static_cast<index_t>(sigma.size());
  lora::AdapterLayer<float> layer = random_layer(out, in, rank, scale, seed);
  const Tensor<double> u = random_orthonormal(out, rank, seed);
  layer.lora_B = convert<float>(scale_columns(u, Tensor<double>({rank}, sigma)));
  layer.lora_A = convert<float>(transposed(random_orthonormal(in, rank, seed + 1)));
  return layer;
}

}  // namespace

TEST_CASE("a smaller rank keeps the largest part and the scale", "[resize_adapter_file]") {
  const auto [out, in] = GENERATE(table<int, int>({{8, 5}, {5, 8}, {70, 33}}));
  const double scale = GENERATE(2.0, 0.25);
  INFO("B A (" << out << ", " << in << "), scale " << scale);
  AdapterFile<float> file;
  file.config.use_rslora = true;
  file.layers["large"] = with_values(out, in, {7, 5, 3, 2, 1}, scale, 3);
  file.layers["small"] = random_layer(out, in, 2, scale, 4);
  const AdapterFile<float> before = file;
  const auto facts = lora::resize_adapter_file(file, 3);
  REQUIRE(facts.size() == 2);
  CHECK(facts[0].path == "large");
  CHECK(facts[0].from == 5);
  CHECK(facts[0].to == 3);
  CHECK(facts[0].kept == Approx(83.0 / 88).epsilon(1e-5));
  CHECK(facts[1].to == 2);
  CHECK(facts[1].kept == 1);
  CHECK(same_bits(file.layers["small"].lora_A, before.layers.at("small").lora_A));
  const auto& layer = file.layers["large"];
  CHECK(layer.scale == scale);
  CHECK(layer.lora_alpha == Approx(3 * scale));
  CHECK(distance(delta(layer), delta(before.layers.at("large"))) ==
        Approx(scale * std::sqrt(5.0)).epsilon(1e-4));
  CHECK_FALSE(file.config.use_rslora);
  CHECK(file.config.r == 2);
  CHECK(file.config.rank_pattern == std::map<std::string, int>{{"^large", 3}});
}

TEST_CASE("a product of lower rank than its factors loses nothing", "[resize_adapter_file]") {
  AdapterFile<float> file;
  file.layers["flat"] = random_layer(3, 50, 6, 1, 1);
  const Tensor<double> before = delta(file.layers["flat"]);
  const auto facts = lora::resize_adapter_file(file, 4);
  CHECK(facts[0].to == 3);
  CHECK(facts[0].kept == 1);
  CHECK(relative_distance(delta(file.layers["flat"]), before) < 1e-5);

  file.layers["flat"].lora_B = Tensor<float>({3, 3});
  CHECK(lora::resize_adapter_file(file, 1)[0].kept == 1);
}

TEST_CASE("convolutions, biases, magnitudes and replaced modules", "[resize_adapter_file]") {
  AdapterFile<float> file;
  file.layers["conv"] = random_conv_layer(9, {2, 3, 3}, 6, 0.5, 1);
  auto& linear = file.layers["linear"] = random_layer(5, 7, 4, 1, 2);
  linear.lora_B_bias = random_tensor<float>({5}, 3);
  linear.magnitude = random_tensor<float>({5}, 4);
  file.replaced["head.weight"] = random_tensor<float>({2, 5}, 5);
  file.config.use_dora = file.config.lora_bias = true;
  const AdapterFile<float> before = file;
  lora::resize_adapter_file(file, 6 - 1);
  CHECK(file.layers["conv"].lora_A.shape() == Shape{5, 2, 3, 3});
  CHECK(file.layers["conv"].lora_B.shape() == Shape{9, 5, 1, 1});
  const auto singular = lora::linalg::svd(delta(before.layers.at("conv"))).s;
  CHECK(distance(delta(file.layers["conv"]), delta(before.layers.at("conv"))) ==
        Approx(singular[5]).epsilon(1e-3));
  CHECK(same_bits(linear.lora_B_bias, before.layers.at("linear").lora_B_bias));
  CHECK(same_bits(linear.magnitude, before.layers.at("linear").magnitude));
  CHECK(same_bits(file.replaced["head.weight"], before.replaced.at("head.weight")));
  CHECK(file.config.use_dora);
  CHECK(file.config.lora_bias);
}

TEST_CASE("a rank that is none, and groups, are refused", "[resize_adapter_file][errors]") {
  AdapterFile<float> file;
  file.layers["a"] = random_layer(5, 7, 4, 1, 2);
  const AdapterFile<float> before = file;
  for (const index_t rank : {index_t{-1}, index_t{0}, index_t{4}, index_t{9}}) {
    INFO("rank " << rank);
    CHECK_THROWS_AS(lora::resize_adapter_file(file, rank), ValueError);
    CHECK_THROWS_WITH(lora::resize_adapter_file(file, rank), contains("the largest there is, 4"));
  }
  auto& grouped = file.layers["grouped"] = random_conv_layer(6, {4, 3, 3}, 4, 1, 1);
  grouped.lora_B = random_tensor<float>({6, 2, 1, 1}, 3);
  CHECK_THROWS_WITH(lora::resize_adapter_file(file, 2),
                    contains("grouped is an adapter of a conv"));
  CHECK(same_bits(file.layers["a"].lora_A, before.layers.at("a").lora_A));
}
