// SPDX-License-Identifier: MIT
#include <lora/ops/gelu.hpp>

#include <cmath>
#include <limits>
#include <numbers>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::GELUApproximation;
namespace ops = lora::ops;

namespace {

constexpr GELUApproximation kBoth[] = {GELUApproximation::none, GELUApproximation::tanh};

long double exact(long double x, GELUApproximation approximation) {
  if (approximation == GELUApproximation::none) {
    return x * std::erfc(-x / std::numbers::sqrt2_v<long double>) / 2;
  }
  const long double u =
      std::sqrt(2 / std::numbers::pi_v<long double>) * (x + 0.044715L * x * x * x);
  return x / (1 + std::exp(-2 * u));
}

}  // namespace

TEMPLATE_TEST_CASE("gelu on ragged sizes", "[gelu]", float, double) {
  using T = TestType;
  for (const auto approximation : kBoth) {
    for (const index_t size : {0, 1, 2, 7, 10, 15, 16, 17, 33, 784, 1001, 4096, 13001}) {
      INFO("size " << size << ", approximation " << static_cast<int>(approximation) << ", seed 1");
      Tensor<T> x = random_tensor<T>({size}, 1), y;
      ops::scale(x, 2.0);
      ops::gelu(x, y, approximation);
      double worst = 0;
      for (index_t i = 0; i < size; ++i) {
        const long double expected = exact(x[i], approximation);
        worst = std::fmax(worst, static_cast<double>(std::abs((y[i] - expected) / expected)));
      }
      // The sigmoid's argument, down to -60 or so, is rounded.
      const double units = approximation == GELUApproximation::none ? 8 : 100;
      CHECK(worst <= units * static_cast<double>(std::numeric_limits<T>::epsilon()));
    }
  }
}

TEST_CASE("gelu's gradient matches finite differences", "[gelu][gradient]") {
  for (const auto approximation : kBoth) {
    auto x = random_tensor<double>({5, 33}, 1);
    const auto c = random_tensor<double>({5, 33}, 2);
    Tensor<double> dx;
    ops::gelu_backward(x, c, dx, approximation);
    check_gradient(x, dx, [&] {
      Tensor<double> y;
      ops::gelu(x, y, approximation);
      return dot(y, c);
    });
  }
}

TEMPLATE_TEST_CASE("gelu far out, and of what is no number", "[gelu]", float, double) {
  using T = TestType;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const T large = sizeof(T) == 4 ? T(1e30) : T(1e300);
  const Tensor<T> x({6}, {0, large, -large, kInfinity, T(NAN), T(-1000)});
  Tensor<T> ones({6}), y, dx;
  ops::fill(ones, 1.0);
  for (const auto approximation : kBoth) {
    ops::gelu(x, y, approximation);
    ops::gelu_backward(x, ones, dx, approximation);
    CHECK(y[0] == 0);
    CHECK(y[1] == large);
    CHECK(y[2] == 0);
    CHECK(y[3] == kInfinity);
    CHECK(std::isnan(y[4]));
    CHECK(y[5] == 0);
    CHECK(dx[0] == approx(0.5));
    CHECK(dx[1] == 1);
    CHECK(dx[2] == 0);
    CHECK(std::isnan(dx[4]));
    CHECK(dx[5] == 0);
  }
}

TEST_CASE("gelu works in place, on any number of threads", "[gelu]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({13001}, 1), dy = random_tensor<float>({13001}, 2);
  for (const auto approximation : kBoth) {
    lora::set_num_threads(1);
    Tensor<float> y, dx;
    ops::gelu(x, y, approximation);
    ops::gelu_backward(x, dy, dx, approximation);
    lora::set_num_threads(3);
    Tensor<float> over_x = x, over_dy = dy;
    ops::gelu(over_x, over_x, approximation);
    ops::gelu_backward(x, over_dy, over_dy, approximation);
    CHECK(same_bits(over_x, y));
    CHECK(same_bits(over_dy, dx));
  }
}

TEST_CASE("gelu_backward names both shapes when they differ", "[gelu][errors]") {
  Tensor<float> dx;
  CHECK_THROWS_WITH(ops::gelu_backward(Tensor<float>({2, 3}), Tensor<float>({2, 4}), dx),
                    contains("gelu_backward: x is (2, 3) on cpu, dy is (2, 4) on cpu"));
}
