// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"

namespace lora::inline v0::cuda {

/// Divides by a number that is known only at run time, with a multiplication and a shift: Granlund
/// and Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994.
struct Divisor {
  std::uint32_t value, multiplier;
  int shift;

  /// n / value, for n < 2^31.
  __device__ __forceinline__ int quotient(int n) const {
    const auto high = static_cast<std::uint32_t>(
        (std::uint64_t{static_cast<std::uint32_t>(n)} * multiplier) >> 32);
    return static_cast<int>((high + static_cast<std::uint32_t>(n)) >> shift);
  }
};

/// For 1 <= value < 2^31; a 0 divides nothing and becomes a 1.
inline Divisor make_divisor(std::int64_t value) {
  const std::uint64_t d = value > 0 ? static_cast<std::uint64_t>(value) : 1;
  int shift = 0;
  while ((std::uint64_t{1} << shift) < d) ++shift;
  const std::uint64_t multiplier =
      ((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1;
  return {static_cast<std::uint32_t>(d), static_cast<std::uint32_t>(multiplier), shift};
}

/// The place of a number in an array of (…, rows, columns).
struct Place {
  int outer, row, column;
};

struct PlaneDivisors {
  Divisor plane, columns;

  __device__ __forceinline__ Place place(int n) const {
    const int outer = plane.quotient(n);
    const int rest = n - outer * static_cast<int>(plane.value);
    const int row = columns.quotient(rest);
    return {outer, row, rest - row * static_cast<int>(columns.value)};
  }
};

inline PlaneDivisors make_plane_divisors(std::int64_t rows, std::int64_t columns) {
  return {make_divisor(rows * columns), make_divisor(columns)};
}

}  // namespace lora::inline v0::cuda
