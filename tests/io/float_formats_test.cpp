// SPDX-License-Identifier: MIT
#include <lora/io/float_formats.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "support/catch.hpp"

using lora::bf16_to_float, lora::f16_to_float, lora::float_to_bf16, lora::float_to_f16;

namespace {

// A 16-bit format by its definition: sign, exponent, fraction.
double by_definition(std::uint16_t bits, int fraction_bits) {
  const int exponent_bits = 15 - fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  const int leading = exponent == 0 ? 0 : 1 << fraction_bits;
  return sign * std::ldexp(leading + fraction, std::max(exponent, 1) - bias - fraction_bits);
}

template <class ToFloat, class FromFloat>
void check_format(int fraction_bits, ToFloat to_float, FromFloat from_float) {
  const auto infinite = static_cast<std::uint16_t>(0x7FFF >> fraction_bits << fraction_bits);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float value = to_float(bits);
    const double expected = by_definition(bits, fraction_bits);
    INFO("bits " << bits);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(value));
      REQUIRE(std::isnan(to_float(from_float(value))));
      continue;
    }
    REQUIRE(std::bit_cast<std::uint32_t>(value) ==
            std::bit_cast<std::uint32_t>(static_cast<float>(expected)));
    REQUIRE(from_float(value) == bits);
    if ((bits & 0x7FFF) >= infinite) continue;
    // Between this number and the next larger in size: half the way goes to the even one, a bit
    // less or more to the nearer one. Where the next is infinite, it counts as a power of two more.
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const double next_value =
        (next & 0x7FFF) == infinite
            ? std::copysign(std::ldexp(1.0, fraction_bits == 10 ? 16 : 128), expected)
            : by_definition(next, fraction_bits);
    const auto half_way = static_cast<float>((expected + next_value) / 2);
    REQUIRE(from_float(half_way) == (bits % 2 == 0 ? bits : next));
    REQUIRE(from_float(std::nextafter(half_way, 0.0f)) == bits);
    REQUIRE(from_float(std::nextafter(half_way, static_cast<float>(2 * next_value))) == next);
  }
  const float largest = std::numeric_limits<float>::max();
  CHECK(from_float(largest) == infinite);
  CHECK(from_float(-largest) == (infinite | 0x8000));
  CHECK(from_float(std::numeric_limits<float>::infinity()) == infinite);
  CHECK(from_float(std::numeric_limits<float>::denorm_min()) == 0);
}

}  // namespace

TEST_CASE("float16 is IEEE's binary16, rounded to the nearest even", "[float_formats]") {
  check_format(10, f16_to_float, float_to_f16);
}

TEST_CASE("bfloat16 is the upper half of a float, rounded to the nearest even", "[float_formats]") {
  check_format(7, bf16_to_float, float_to_bf16);
}

TEST_CASE("a NaN whose bits rounding would carry away stays a NaN", "[float_formats]") {
  for (const std::uint32_t bits : {0x7F800001u, 0x7FFFFFFFu, 0xFF800001u, 0xFFFFFFFFu}) {
    INFO("bits " << bits);
    CHECK(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(bits)))));
    CHECK(std::isnan(f16_to_float(float_to_f16(std::bit_cast<float>(bits)))));
  }
}
