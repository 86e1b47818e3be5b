// SPDX-License-Identifier: MIT
#include <lora/random.hpp>

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "support/tensors.hpp"

using namespace lora_test;
using Words = std::array<std::uint32_t, 4>;

TEST_CASE("philox4x32_10 gives Random123's known answers", "[random]") {
  CHECK(lora::philox4x32_10({0, 0, 0, 0}, {0, 0}) ==
        Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(lora::philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(lora::philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                            {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("PhiloxGenerator: an element depends on seed, call and place alone", "[random]") {
  std::vector<float> longer(100), shorter(10), second(10), other(10);
  lora::PhiloxGenerator a(7), b(7), c(8);
  a.uniform(std::span<float>(longer), 0, 1);
  b.uniform(std::span<float>(shorter), 0, 1);
  CHECK(std::equal(shorter.begin(), shorter.end(), longer.begin()));
  b.uniform(std::span<float>(second), 0, 1);
  CHECK(second != shorter);
  c.uniform(std::span<float>(other), 0, 1);
  CHECK(other != shorter);
}

TEST_CASE("PhiloxGenerator has the moments it promises", "[random]") {
  std::vector<double> values(100000);
  lora::PhiloxGenerator generator(1);
  const auto moments = [&] {
    double mean = 0, square = 0;
    for (const double v : values) mean += v, square += v * v;
    mean /= static_cast<double>(values.size());
    return std::pair(mean, square / static_cast<double>(values.size()) - mean * mean);
  };
  generator.uniform(std::span<double>(values), -1, 3);
  CHECK(moments().first == approx(1).margin(0.02));
  CHECK(moments().second == approx(16.0 / 12).margin(0.03));
  for (const double v : values) REQUIRE((v >= -1 && v < 3));
  generator.normal(std::span<double>(values), 2, 0.5);
  CHECK(moments().first == approx(2).margin(0.01));
  CHECK(moments().second == approx(0.25).margin(0.01));
}

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
