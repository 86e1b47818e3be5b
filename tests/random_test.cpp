// SPDX-License-Identifier: MIT
#include <lora/random.hpp>

#include <array>
#include <cstdint>
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
