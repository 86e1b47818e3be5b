// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <lora/cpu/simd.hpp>

// Functions of whole vectors, within a few units in the last place of the exact value. The standard
// library's take one number at a time, which is what a softmax would spend its time on.

namespace lora::inline v0::cpu {

namespace detail {

/// 1 / k!, of eˣ.
template <class T>
struct Taylor {
  T c[14] = {T(1),
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
};

template <>
struct Taylor<float> {
  float c[8] = {1, 1, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
};

/// Φ(-a) e^(a²/2) (a + 5) in powers of (a - 5) / (a + 5); see normal below.
template <class T>
struct Tail {
  T c[23] = {0.76919304975006296,    -0.66538250289005669,   0.49530561596997659,
             -0.31353315667130517,   0.16502036617037503,    -0.06911863870629468,
             0.02079506680009146,    -0.0029933767706492681, -0.00079786940073924879,
             0.00054489906503732301, -5.9375713816471312e-5, -4.9762810377903035e-5,
             1.6681160364586645e-5,  3.9808712856669725e-6,  -2.7691457822822779e-6,
             -3.3651220434990695e-7, 4.3298370374156094e-7,  4.2091833338869146e-8,
             -6.5848868400797397e-8, -9.1445020812891739e-9, 7.6672361072026533e-9,
             1.6891057665153781e-9,  -1.8073212078146043e-10};
};

template <>
struct Tail<float> {
  float c[10] = {0.769193041f,  -0.665382431f, 0.495306473f,    -0.313535526f,   0.165005006f,
                 -0.069104099f, 0.0208935422f, -0.00298318618f, -0.00102041697f, 0.000382901818f};
};

template <class T>
inline constexpr Taylor<T> kTaylor{};
template <class T>
inline constexpr Tail<T> kTail{};

}  // namespace detail

template <class S>
using ElementOf = std::remove_cvref_t<decltype(std::declval<typename S::Vector&>()[0])>;

/// sum = Σ c[k] xᵏ, by Horner's rule.
template <class S, int kCount>
LORA_ALWAYS_INLINE void polynomial(const ElementOf<S> (&c)[kCount], const typename S::Vector& x,
                                   typename S::Vector& sum) {
  sum = typename S::Vector{} + c[kCount - 1];
  LORA_UNROLL
  for (int k = kCount - 2; k >= 0; --k) {
    typename S::Vector next = typename S::Vector{} + c[k];
    S::fma(sum, x, next);
    sum = next;
  }
}

/// x = e^(x + low), as exp below, where x + low would have to be rounded; |low| <= 0.06.
template <class S>
LORA_ALWAYS_INLINE void exp_of_sum(typename S::Vector& x, const typename S::Vector& low) {
  using V = typename S::Vector;
  using T = ElementOf<S>;
  using Integer = typename S::Integer;
  using Bits = typename S::Bits;
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

  V input;
  S::select(x > V{} + kLargest, V{} + kLargest, x, input);
  const V shifted = input * T(1.4426950408889634) + kRound;
  const V n = shifted - kRound;
  // Not S::fma, which GCC took apart here. A second rounding of so small a product is lost in r.
  V r = input - n * kLn2High;
  r -= n * kLn2Low;
  r += low;

  V sum;
  polynomial<S>(detail::kTaylor<T>.c, r, sum);
  const V power = reinterpret_cast<V>(reinterpret_cast<Bits>(shifted) << kMantissa);
  S::select(x < V{} + kSmallest, V{}, sum * power, x);
}

/// x = eˣ for x <= 88 (float) or 709 (double), beyond which the result is that of the limit, within
/// two units in the last place. Below the smallest normal number it is 0; NaN stays NaN.
///
/// eˣ = 2ⁿ eʳ with n = round(x / ln 2) and |r| <= ln 2 / 2, where Taylor's series is short.
template <class S>
LORA_ALWAYS_INLINE void exp(typename S::Vector& x) {
  exp_of_sum<S>(x, typename S::Vector{});
}

/// x = 1 / (1 + e⁻ˣ), within four units in the last place; 0 where eˣ is.
template <class S>
LORA_ALWAYS_INLINE void sigmoid(typename S::Vector& x) {
  using V = typename S::Vector;
  const V one = V{} + ElementOf<S>(1);
  const typename S::Bits is_negative = x < V{};
  // The exponential of -|x|, which cannot overflow, is small beside 1 or the numerator.
  V e, numerator;
  S::select(is_negative, x, -x, e);
  exp<S>(e);
  S::select(is_negative, e, one, numerator);
  x = numerator / (one + e);
}

/// Φ(x), the normal distribution's share below x, and its density φ(x) = e^(-x²/2) / √(2π), both
/// within six units in the last place, also far out, where (1 + erf(x / √2)) / 2 cancels to
/// nothing. Where they are no normal numbers they lose digits, or are 0; NaN stays NaN.
///
/// Φ(-a) e^(a²/2) (a + 5) is smooth from a = 0 to infinity in t = (a - 5) / (a + 5), the variable
/// of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in
/// 0 <= x < ∞", Math. Comp. 36, 1981. The polynomials interpolate it in the Chebyshev points of
/// 0 <= a <= 14 (float; relative error 1.3e-8) and of 0 <= a <= 40 (double; 1.3e-17).
template <class S>
LORA_ALWAYS_INLINE void normal(const typename S::Vector& x, typename S::Vector& share,
                               typename S::Vector& density) {
  using V = typename S::Vector;
  using T = ElementOf<S>;
  using Bits = typename S::Bits;
  constexpr bool kFloat = sizeof(T) == 4;
  // Beyond it, e^(-a²/2) is below the smallest normal number.
  constexpr T kLargest = kFloat ? T(14) : T(40);

  V a;
  S::select(x < V{}, -x, x, a);
  S::select(a > V{} + kLargest, V{} + kLargest, a, a);
  // The square of a's upper half is exact, so the exponent is known to twice the usual precision.
  constexpr typename S::Integer kUpper = kFloat ? ~0xFFF : ~0x7FFFFFF;
  const V upper = reinterpret_cast<V>(reinterpret_cast<Bits>(a) & kUpper);
  V e = upper * upper * T(-0.5);
  exp_of_sum<S>(e, (a - upper) * (a + upper) * T(-0.5));

  const V scale = T(1) / (a + T(5));
  const V t = (a - T(5)) * scale;
  V sum;
  polynomial<S>(detail::kTail<T>.c, t, sum);
  const V tail = e * (sum * scale);
  S::select(x < V{}, tail, T(1) - tail, share);
  density = e * T(0.39894228040143268);
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
