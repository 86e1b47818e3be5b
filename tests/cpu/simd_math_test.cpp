// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <lora/cpu/simd_math.hpp>

#include "support/catch.hpp"

namespace {

struct ExpCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T* x, std::int64_t count) {
    using S = lora::cpu::Simd<T, Bytes>;
    for (std::int64_t i = 0; i < count; i += S::kWidth) {
      typename S::Vector v = *S::at(x + i);
      lora::cpu::exp<S>(v);
      *S::at(x + i) = v;
    }
  }
};

struct LogCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T* x, std::int64_t count) {
    using S = lora::cpu::Simd<T, Bytes>;
    for (std::int64_t i = 0; i < count; i += S::kWidth) {
      typename S::Vector v = *S::at(x + i);
      lora::cpu::log<S>(v);
      *S::at(x + i) = v;
    }
  }
};

}  // namespace

TEMPLATE_TEST_CASE("exp of vectors is exact to two units in the last place", "[simd]", float,
                   double) {
  using T = TestType;
  const double lowest = sizeof(T) == 4 ? -87.2 : -708.2;
  const double highest = sizeof(T) == 4 ? 88 : 709;
  constexpr std::int64_t kCount = 1 << 16;
  std::vector<T> x(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x[static_cast<std::size_t>(i)] =
        static_cast<T>(lowest + (highest - lowest) * static_cast<double>(i) / (kCount - 1));
  }
  std::vector<T> y = x;
  lora::cpu::run_simd<ExpCore>(y.data(), kCount);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double exact = std::exp(static_cast<long double>(x[i]));
    worst = std::max(worst, static_cast<double>(std::abs(y[i] - exact) / exact));
  }
  CAPTURE(worst);
  CHECK(worst <= 2 * static_cast<double>(std::numeric_limits<T>::epsilon()));
}

TEMPLATE_TEST_CASE("exp of vectors at its ends", "[simd]", float, double) {
  using T = TestType;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  std::vector<T> x(16, T{0});
  x[1] = -kInfinity;
  x[2] = std::numeric_limits<T>::quiet_NaN();
  x[3] = T{-1e4};
  x[4] = kInfinity;
  lora::cpu::run_simd<ExpCore>(x.data(), std::int64_t{16});
  CHECK(x[0] == 1);
  CHECK(x[1] == 0);
  CHECK(std::isnan(x[2]));
  CHECK(x[3] == 0);
  CHECK((x[4] > T(1e38) && std::isfinite(x[4])));
}

TEMPLATE_TEST_CASE("log of vectors is as exact as a number near 1 can be", "[simd]", float,
                   double) {
  using T = TestType;
  constexpr std::int64_t kCount = 1 << 14;
  std::vector<T> x(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x[static_cast<std::size_t>(i)] =
        static_cast<T>(std::exp(-80 + 160 * static_cast<double>(i) / (kCount - 1)));
  }
  x[0] = 1;
  x[1] = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> y = x;
  lora::cpu::run_simd<LogCore>(y.data(), kCount);
  CHECK(y[0] == 0);
  CHECK(std::isnan(y[1]));
  double worst = 0;
  for (std::size_t i = 2; i < x.size(); ++i) {
    const long double exact = std::log(static_cast<long double>(x[i]));
    worst = std::max(worst, static_cast<double>(std::abs(y[i] - exact) / (1 + std::abs(exact))));
  }
  CAPTURE(worst);
  CHECK(worst <= 2 * static_cast<double>(std::numeric_limits<T>::epsilon()));
}
