// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include <lora/cpu/simd.hpp>

// Functions of whole vectors, within two units in the last place of the exact value. The standard
// library's take one number at a time, which is what a softmax would spend its time on.

namespace lora::inline v0::cpu {

/// x = eˣ for x <= 88 (float) or 709 (double), beyond which the result is that of the limit. Below
/// the smallest normal number it is 0; NaN stays NaN.
///
/// eˣ = 2ⁿ eʳ with n = round(x / ln 2) and |r| <= ln 2 / 2, where Taylor's series is short.
template <class S>
LORA_ALWAYS_INLINE void exp(typename S::Vector& x) {
  using V = typename S::Vector;
  using T = std::remove_cvref_t<decltype(x[0])>;
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Integer Bits __attribute__((vector_size(sizeof(V)), may_alias));
  constexpr bool kFloat = sizeof(T) == 4;
  constexpr int kMantissa = kFloat ? 23 : 52;
  constexpr Integer kBias = kFloat ? 127 : 1023;
  constexpr T kLargest = kFloat ? T(88) : T(709);
  constexpr T kSmallest = kFloat ? T(-87.3) : T(-708.3);
  // ln 2 in two parts: n times the first is exact.
  constexpr T kLn2High = kFloat ? T(0x1.62e4p-1) : T(0x1.62e42fefap-1);
  constexpr T kLn2Low = kFloat ? T(0x1.7f7d1cp-20) : T(0x1.cf79abc9e3b3ap-40);
  // Adding it rounds to a whole number, which is then in the lower bits, with the exponent's bias.
  constexpr T kRound = T(1.5) * T(std::int64_t{1} << kMantissa) + T(kBias);

  const V largest = V{} + kLargest;
  const Bits is_large = x > largest;
  const V input = reinterpret_cast<V>((reinterpret_cast<Bits>(largest) & is_large) |
                                      (reinterpret_cast<Bits>(x) & ~is_large));
  const V shifted = input * T(1.4426950408889634) + kRound;
  const V n = shifted - kRound;
  V r = input;
  S::fma(n, V{} - kLn2High, r);
  S::fma(n, V{} - kLn2Low, r);

  constexpr T kReciprocal[] = {T(1),
                               T(1),
                               T(1) / 2,
                               T(1) / 6,
                               T(1) / 24,
                               T(1) / 120,
                               T(1) / 720,
                               T(1) / 5040,
                               T(1) / 40320,
                               T(1) / 362880,
                               T(1) / 3628800,
                               T(1) / 39916800,
                               T(1) / 479001600,
                               T(1) / 6227020800};
  constexpr int kDegree = kFloat ? 7 : 13;
  V sum = V{} + kReciprocal[kDegree];
  LORA_UNROLL
  for (int k = kDegree - 1; k >= 0; --k) {
    V next = V{} + kReciprocal[k];
    S::fma(sum, r, next);
    sum = next;
  }
  const V power = reinterpret_cast<V>(reinterpret_cast<Bits>(shifted) << kMantissa);
  const V result = sum * power;
  const Bits is_small = x < V{} + kSmallest;
  x = reinterpret_cast<V>(reinterpret_cast<Bits>(result) & ~is_small);
}

/// x = ln x for normal x > 0, within two units in the last place of 1 + |ln x|; NaN stays NaN.
///
/// The bits of x, read as a whole number, are a line in ln x to within 0.06; Halley's step for
/// eʸ = x then makes an error e one of e³ / 12.
template <class S>
LORA_ALWAYS_INLINE void log(typename S::Vector& x) {
  using V = typename S::Vector;
  using T = std::remove_cvref_t<decltype(x[0])>;
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Integer Bits __attribute__((vector_size(sizeof(V)), may_alias));
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr T kBias = sizeof(T) == 4 ? T(127) : T(1023);
  constexpr T kLn2 = T(0.6931471805599453);
  constexpr T kUnit = T(1) / T(Integer{1} << kMantissa);
  V y = (__builtin_convertvector(reinterpret_cast<Bits>(x), V) * kUnit - kBias) * kLn2;
  LORA_UNROLL
  for (int step = 0; step < 2; ++step) {
    V power = y;
    exp<S>(power);
    y += T(2) * (x - power) / (x + power);
  }
  x = y;
}

}  // namespace lora::inline v0::cpu
