// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include <lora/cpu/simd_math.hpp>

#include "support/catch.hpp"

using lora_test::approx;

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

struct SigmoidCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T* x, std::int64_t count) {
    using S = lora::cpu::Simd<T, Bytes>;
    for (std::int64_t i = 0; i < count; i += S::kWidth) {
      typename S::Vector v = *S::at(x + i);
      lora::cpu::sigmoid<S>(v);
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

struct NormalCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* x, T* share, T* density, std::int64_t count) {
    using S = lora::cpu::Simd<T, Bytes>;
    for (std::int64_t i = 0; i < count; i += S::kWidth) {
      const typename S::Vector v = *S::at(x + i);
      typename S::Vector below, at;
      lora::cpu::normal<S>(v, below, at);
      *S::at(share + i) = below;
      *S::at(density + i) = at;
    }
  }
};

constexpr std::int64_t kCount = 1 << 16;

/// kCount numbers from `lowest` to `highest`.
template <class T>
std::vector<T> numbers_between(double lowest, double highest) {
  std::vector<T> x(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x[static_cast<std::size_t>(i)] =
        static_cast<T>(lowest + (highest - lowest) * static_cast<double>(i) / (kCount - 1));
  }
  return x;
}

/// The largest relative error of y against exact(x), in units of the machine epsilon.
template <class T, class Exact>
double worst_error(const std::vector<T>& x, const std::vector<T>& y, const Exact& exact) {
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double value = exact(static_cast<long double>(x[i]));
    const double error = static_cast<double>(std::abs(y[i] - value) / value);
    if (!(error <= worst)) worst = error;
  }
  return worst / static_cast<double>(std::numeric_limits<T>::epsilon());
}

}  // namespace

TEMPLATE_TEST_CASE("exp of vectors is exact to two units in the last place", "[simd]", float,
                   double) {
  using T = TestType;
  const double lowest = sizeof(T) == 4 ? -87.2 : -708.2;
  const double highest = sizeof(T) == 4 ? 88 : 709;
  const std::vector<T> x = numbers_between<T>(lowest, highest);
  std::vector<T> y = x;
  lora::cpu::run_simd<ExpCore>(y.data(), kCount);
  CHECK(worst_error(x, y, [](long double v) { return std::exp(v); }) <= 2);
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

TEMPLATE_TEST_CASE("sigmoid of vectors is exact to four units in the last place", "[simd]", float,
                   double) {
  using T = TestType;
  const std::vector<T> x = numbers_between<T>(sizeof(T) == 4 ? -87.2 : -708.2, 40);
  std::vector<T> y = x;
  lora::cpu::run_simd<SigmoidCore>(y.data(), kCount);
  CHECK(worst_error(x, y, [](long double v) { return 1 / (1 + std::exp(-v)); }) <= 4);
}

TEMPLATE_TEST_CASE("the normal distribution is exact to six units in the last place", "[simd]",
                   float, double) {
  using T = TestType;
  const double lowest = sizeof(T) == 4 ? -12.7 : -37.4;
  for (const double highest : {-lowest, 1.0}) {
    INFO("numbers from " << lowest << " to " << highest);
    const std::vector<T> x = numbers_between<T>(lowest, highest);
    std::vector<T> share(x.size()), density(x.size());
    lora::cpu::run_simd<NormalCore>(x.data(), share.data(), density.data(), kCount);
    const auto exact_share = [](long double v) {
      return std::erfc(-v / std::numbers::sqrt2_v<long double>) / 2;
    };
    const auto exact_density = [](long double v) {
      return std::exp(-v * v / 2) * std::numbers::inv_sqrtpi_v<long double> /
             std::numbers::sqrt2_v<long double>;
    };
    CHECK(worst_error(x, share, exact_share) <= 6);
    CHECK(worst_error(x, density, exact_density) <= 6);
  }
}

TEMPLATE_TEST_CASE("sigmoid and the normal distribution at their ends", "[simd]", float, double) {
  using T = TestType;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  std::vector<T> x(16, T{0});
  x[1] = -kInfinity;
  x[2] = std::numeric_limits<T>::quiet_NaN();
  x[3] = T{-1e4};
  x[4] = kInfinity;
  x[5] = T{1e4};
  std::vector<T> sigmoid = x, share = x, density = x;
  lora::cpu::run_simd<SigmoidCore>(sigmoid.data(), std::int64_t{16});
  lora::cpu::run_simd<NormalCore>(x.data(), share.data(), density.data(), std::int64_t{16});
  for (const std::vector<T>& y : {sigmoid, share}) {
    CHECK(y[0] == approx(0.5).epsilon(1e-7));
    CHECK(y[1] == 0);
    CHECK(std::isnan(y[2]));
    CHECK(y[3] == 0);
    CHECK(y[4] == 1);
    CHECK(y[5] == 1);
  }
  CHECK(std::isnan(density[2]));
  for (const std::size_t i : {1u, 3u, 4u, 5u}) CHECK(density[i] == 0);
}

TEMPLATE_TEST_CASE("log of vectors is as exact as a number near 1 can be", "[simd]", float,
                   double) {
  using T = TestType;
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
