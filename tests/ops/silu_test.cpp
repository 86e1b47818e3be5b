// SPDX-License-Identifier: MIT
#include <lora/ops/silu.hpp>

#include <cmath>
#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEMPLATE_TEST_CASE("silu on ragged sizes", "[silu]", float, double) {
  using T = TestType;
  for (const index_t size : {0, 1, 2, 7, 10, 15, 16, 17, 33, 784, 1001, 4096, 13001}) {
    INFO("size " << size << ", seed 1");
    Tensor<T> x = random_tensor<T>({size}, 1), y;
    ops::scale(x, 5.0);
    ops::silu(x, y);
    double worst = 0;
    for (index_t i = 0; i < size; ++i) {
      const long double v = x[i], expected = v / (1 + std::exp(-v));
      worst = std::fmax(worst, static_cast<double>(std::abs((y[i] - expected) / expected)));
    }
    CHECK(worst <= 5 * static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
}

TEST_CASE("silu's gradient matches finite differences", "[silu][gradient]") {
  auto x = random_tensor<double>({5, 33}, 1);
  const auto c = random_tensor<double>({5, 33}, 2);
  Tensor<double> dx;
  ops::silu_backward(x, c, dx);
  check_gradient(x, dx, [&] {
    Tensor<double> y;
    ops::silu(x, y);
    return dot(y, c);
  });
}

TEMPLATE_TEST_CASE("silu far out, and of what is no number", "[silu]", float, double) {
  using T = TestType;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const T large = sizeof(T) == 4 ? T(1e30) : T(1e300);
  const Tensor<T> x({5}, {0, large, -large, kInfinity, T(NAN)});
  Tensor<T> ones({5}), y, dx;
  ops::fill(ones, 1.0);
  ops::silu(x, y);
  ops::silu_backward(x, ones, dx);
  CHECK(y[0] == 0);
  CHECK(y[1] == large);
  CHECK(y[2] == 0);
  CHECK(y[3] == kInfinity);
  CHECK(std::isnan(y[4]));
  CHECK(dx[0] == 0.5);
  CHECK(dx[1] == 1);
  CHECK(dx[2] == 0);
  CHECK(std::isnan(dx[4]));
}

TEST_CASE("silu works in place, on any number of threads", "[silu]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({13001}, 1), dy = random_tensor<float>({13001}, 2);
  lora::set_num_threads(1);
  Tensor<float> y, dx;
  ops::silu(x, y);
  ops::silu_backward(x, dy, dx);
  lora::set_num_threads(3);
  Tensor<float> over_x = x, over_dy = dy;
  ops::silu(over_x, over_x);
  ops::silu_backward(x, over_dy, over_dy);
  CHECK(same_bits(over_x, y));
  CHECK(same_bits(over_dy, dx));
}

TEST_CASE("silu_backward names both shapes when they differ", "[silu][errors]") {
  Tensor<float> dx;
  CHECK_THROWS_WITH(ops::silu_backward(Tensor<float>({2, 3}), Tensor<float>({2, 4}), dx),
                    contains("silu_backward: x is (2, 3) on cpu, dy is (2, 4) on cpu"));
}
