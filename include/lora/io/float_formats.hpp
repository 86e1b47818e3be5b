// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdint>

// The 16-bit floating-point formats of weight files, bit by bit: IEEE 754's binary16 ("F16", 5 bits
// of exponent and 10 of fraction) and bfloat16 ("BF16", the upper half of a binary32).

namespace lora::inline v0 {

constexpr float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// Rounds to the nearest, to even between two; what is too large becomes infinite, a NaN stays one.
constexpr std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  // Rounding could carry a NaN into the sign; it is made quiet instead.
  const std::uint32_t rounded =
      is_nan ? (bits | 0x00400000u) : bits + 0x7FFFu + ((bits >> 16) & 1u);
  return static_cast<std::uint16_t>(rounded >> 16);
}

constexpr float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits} << 16 & 0x80000000u;
  const std::uint32_t magnitude = bits & 0x7FFFu;
  // The exponent's bias is 112 more; infinities and NaNs have the largest one in both formats. What
  // lies below 2^-14 is a whole multiple of 2^-24.
  const std::uint32_t special = magnitude >= 0x7C00u ? 0x7F800000u - (143u << 23) : 0u;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23) + special;
  const auto tiny = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
  return std::bit_cast<float>(sign | (magnitude < 0x0400u ? tiny : normal));
}

/// Rounds to the nearest, to even between two; what is too large becomes infinite, a NaN stays one.
constexpr std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  // Halfway between the largest number, 65504, and the next that there would be.
  constexpr std::uint32_t kInfinite = 0x477FF000u;
  constexpr std::uint32_t kSmallestNormal = 113u << 23;
  const std::uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
  const std::uint32_t normal = (rounded - (112u << 23)) >> 13;
  // Added to 1/2, whose last bit is 2^-24, a number below 2^-14 is rounded to a multiple of that.
  const std::uint32_t tiny =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  std::uint32_t result = magnitude < kSmallestNormal ? tiny : normal;
  if (magnitude >= kInfinite) result = 0x7C00u;
  if (magnitude > 0x7F800000u) result = 0x7E00u;
  return static_cast<std::uint16_t>(sign | result);
}

}  // namespace lora::inline v0
