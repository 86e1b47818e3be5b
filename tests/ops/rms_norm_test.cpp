// SPDX-License-Identifier: MIT
#include <lora/ops/rms_norm.hpp>

#include <cmath>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("rms_norm's known values", "[rms_norm]") {
  const Tensor<double> x({2, 2}, {1, 7, 0, 0}), weight({2}, {2, 4});
  Tensor<double> y, inv_rms;
  ops::rms_norm(x, weight, y, inv_rms, 0.25);
  CHECK(inv_rms[0] == approx(1 / std::sqrt(25.25)));
  CHECK(inv_rms[1] == 2);
  CHECK(y(0, 0) == approx(2 / std::sqrt(25.25)));
  CHECK(y(0, 1) == approx(28 / std::sqrt(25.25)));
  CHECK(y(1, 0) == 0);
}

TEMPLATE_TEST_CASE("rms_norm and its gradients on ragged sizes", "[rms_norm]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;
  for (const index_t rows : {0, 1, 10, 33}) {
    for (const index_t cols : {1, 2, 7, 10, 15, 16, 17, 31, 33, 64, 130, 784, 1001}) {
      INFO("x is (" << rows << ", " << cols << "), seeds 1 to 3");
      const auto x = random_tensor<T>({rows, cols}, 1), dy = random_tensor<T>({rows, cols}, 2);
      const auto weight = random_tensor<T>({cols}, 3);
      const double eps = 0.01, n = static_cast<double>(cols);
      Tensor<double> y(x.shape()), dx(x.shape()), dweight({cols});
      for (index_t i = 0; i < rows; ++i) {
        const auto at = [&](const Tensor<T>& t, index_t j) { return static_cast<double>(t(i, j)); };
        const auto w = [&](index_t j) { return static_cast<double>(weight[j]); };
        double square = eps, slope = 0;
        for (index_t j = 0; j < cols; ++j) square += at(x, j) * at(x, j) / n;
        const double rms = std::sqrt(square);
        for (index_t j = 0; j < cols; ++j) slope += at(dy, j) * w(j) * at(x, j) / rms / n;
        for (index_t j = 0; j < cols; ++j) {
          y(i, j) = at(x, j) / rms * w(j);
          dweight[j] += at(dy, j) * at(x, j) / rms;
          dx(i, j) = (at(dy, j) * w(j) - at(x, j) / rms * slope) / rms;
        }
      }
      Tensor<T> result, inv_rms, to_x, to_weight;
      ops::rms_norm(x, weight, result, inv_rms, eps);
      ops::rms_norm_backward(dy, x, weight, inv_rms, &to_x, &to_weight);
      REQUIRE(max_error(result, y) < tolerance);
      REQUIRE(max_error(to_x, dx) < tolerance);
      REQUIRE(max_error(to_weight, dweight) < tolerance);
    }
  }
}

TEST_CASE("rms_norm's gradients match finite differences", "[rms_norm][gradient]") {
  for (const Shape shape : {Shape{3, 7}, Shape{2, 2, 33}}) {
    auto x = random_tensor<double>(shape, 1);
    auto weight = random_tensor<double>({shape.cols()}, 2);
    const auto c = random_tensor<double>(shape, 3);
    Tensor<double> y, inv_rms, dx, dweight;
    ops::rms_norm(x, weight, y, inv_rms, 1e-6);
    ops::rms_norm_backward(c, x, weight, inv_rms, &dx, &dweight);
    const auto loss = [&] {
      Tensor<double> out, inv;
      ops::rms_norm(x, weight, out, inv, 1e-6);
      return dot(out, c);
    };
    check_gradient(x, dx, loss);
    check_gradient(weight, dweight, loss);
  }
}

TEST_CASE("rms_norm does not depend on the number of threads", "[rms_norm]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({301, 130}, 1), dy = random_tensor<float>({301, 130}, 2);
  const auto weight = random_tensor<float>({130}, 3);
  const auto run = [&](int threads) {
    lora::set_num_threads(threads);
    std::vector<Tensor<float>> results(4);
    ops::rms_norm(x, weight, results[0], results[1], 1e-6);
    ops::rms_norm_backward(dy, x, weight, results[1], &results[2], &results[3]);
    return results;
  };
  const auto expected = run(1);
  for (const int threads : {2, 3, 8}) {
    INFO(threads << " threads");
    const auto results = run(threads);
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], expected[i]));
  }
}

TEST_CASE("rms_norm_backward gives the gradients that are asked for, or adds to them",
          "[rms_norm][gradient]") {
  const auto x = random_tensor<double>({100, 10}, 1), dy = random_tensor<double>({100, 10}, 2);
  const auto weight = random_tensor<double>({10}, 3), before = random_tensor<double>({10}, 4);
  Tensor<double> y, inv_rms, dx, dweight, alone, sum = before, over = dy;
  ops::rms_norm(x, weight, y, inv_rms, 1e-6);
  ops::rms_norm_backward(dy, x, weight, inv_rms, &dx, &dweight);
  ops::rms_norm_backward(dy, x, weight, inv_rms, &alone, static_cast<Tensor<double>*>(nullptr));
  CHECK(same_bits(alone, dx));
  ops::rms_norm_backward(dy, x, weight, inv_rms, static_cast<Tensor<double>*>(nullptr), &sum, true);
  for (index_t j = 0; j < 10; ++j) CHECK(sum[j] == approx(before[j] + dweight[j]));
  ops::rms_norm_backward(over, x, weight, inv_rms, &over, &alone);
  CHECK(same_bits(over, dx));
  CHECK(same_bits(alone, dweight));
}

TEST_CASE("rms_norm names what does not fit", "[rms_norm][errors]") {
  const Tensor<float> x({2, 5}), weight({5}), four({4});
  Tensor<float> y, inv_rms, dx;
  CHECK_THROWS_WITH(ops::rms_norm(x, four, y, inv_rms, 1e-6),
                    contains("rms_norm: x is (2, 5) on cpu, weight is (4,) on cpu"));
  CHECK_THROWS_AS(ops::rms_norm(weight, weight, y, inv_rms, 1e-6), lora::ShapeError);
  CHECK_THROWS_WITH(ops::rms_norm_backward(x, x, weight, four, &dx, &dx),
                    contains("rms_norm_backward: inv_rms is (4,) on cpu, x is (2, 5) on cpu"));
}
