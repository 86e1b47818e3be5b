// SPDX-License-Identifier: MIT
#include <lora/torch_generator.hpp>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("TorchGenerator: the numbers of torch.rand after manual_seed(0)", "[random][torch]") {
  // torch.manual_seed(0); torch.rand(5)
  std::vector<float> values(5);
  lora::TorchGenerator(0).uniform(std::span<float>(values), 0, 1);
  const std::vector<float> expected{0.49625658988952637f, 0.7682217955589294f, 0.08847743272781372f,
                                    0.13203048706054688f, 0.30742281675338745f};
  CHECK(values == expected);
}

TEST_CASE("TorchGenerator: the order of a shuffling DataLoader", "[random][torch]") {
  // The loader of 60,000 samples that follows the study's initial weights for seed 0.
  lora::TorchGenerator generator(0);
  for (const auto& [in, out] : {std::pair{784, 1000}, {1000, 1500}, {1500, 1300}, {1300, 10}}) {
    lora::Linear<float>(in, out, generator);
  }
  const std::vector<index_t> order = generator.data_loader_order(60000);
  const std::vector<index_t> expected{55925, 51229, 57997, 28750, 35837};
  CHECK(std::equal(expected.begin(), expected.end(), order.begin()));
}

TEST_CASE("TorchGenerator::randperm is a permutation", "[random][torch]") {
  lora::TorchGenerator generator(7);
  const std::vector<index_t> order = generator.randperm(1000);
  CHECK(std::set<index_t>(order.begin(), order.end()).size() == 1000);
  CHECK(*std::max_element(order.begin(), order.end()) == 999);
  CHECK(generator.randperm(0).empty());
  CHECK(generator.randperm(1) == std::vector<index_t>{0});
}

TEST_CASE("TorchGenerator: the numbers of torch.randn, short and long", "[random][torch]") {
  // torch.manual_seed(3); torch.randn(5) takes the path in double, for fewer than 16 numbers.
  std::vector<float> few(5);
  lora::TorchGenerator(3).normal(std::span<float>(few), 0, 1);
  double sum = 0;
  std::vector<float> many(100007);
  lora::TorchGenerator generator(3);
  generator.normal(std::span<float>(many), 5, 2);
  for (const float v : many) sum += static_cast<double>(v);
  CHECK(sum / static_cast<double>(many.size()) == approx(5).margin(0.03));
  for (const float v : few) CHECK(std::isfinite(v));
}

TEST_CASE("TorchGenerator keeps the spare of a pair of normal numbers", "[random][torch]") {
  std::vector<float> together(4), first(1), rest(3);
  lora::TorchGenerator a(3), b(3);
  a.normal(std::span<float>(together), 0, 1);
  b.normal(std::span<float>(first), 0, 1);
  b.normal(std::span<float>(rest), 0, 1);
  CHECK(first[0] == together[0]);
  CHECK(rest[0] == together[1]);
  CHECK(rest[2] == together[3]);
}

TEST_CASE("TorchGenerator fills doubles too", "[random][torch]") {
  std::vector<double> values(1000);
  lora::TorchGenerator generator(5);
  generator.uniform(std::span<double>(values), 2, 4);
  for (const double v : values) REQUIRE((v >= 2 && v < 4));
  generator.normal(std::span<double>(values), 0, 1);
  double square = 0;
  for (const double v : values) square += v * v;
  CHECK(square / 1000 == approx(1).margin(0.15));
}
