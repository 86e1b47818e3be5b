// SPDX-License-Identifier: MIT
#include <lora/ops/layer_norm.hpp>

#include <cmath>
#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

/// By the definition, in double, for tensors of rank 2.
struct Reference {
  Tensor<double> y, dx, dweight, dbias;

  template <class T>
  Reference(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>* bias, const Tensor<T>& dy,
            double eps)
      : y(x.shape()), dx(x.shape()), dweight(weight.shape()), dbias(weight.shape()) {
    const index_t cols = x.dim(1);
    const double n = static_cast<double>(cols);
    const auto at = [](const Tensor<T>& t, index_t i, index_t j) {
      return static_cast<double>(t(i, j));
    };
    for (index_t i = 0; i < x.dim(0); ++i) {
      double mean = 0, variance = 0, mean_g = 0, mean_gx = 0;
      for (index_t j = 0; j < cols; ++j) mean += at(x, i, j) / n;
      for (index_t j = 0; j < cols; ++j) variance += std::pow(at(x, i, j) - mean, 2) / n;
      const double deviation = std::sqrt(variance + eps);
      for (index_t j = 0; j < cols; ++j) {
        const double normalized = (at(x, i, j) - mean) / deviation;
        const double w = static_cast<double>(weight[j]);
        y(i, j) = normalized * w + (bias ? static_cast<double>((*bias)[j]) : 0.0);
        dweight[j] += at(dy, i, j) * normalized;
        dbias[j] += at(dy, i, j);
        mean_g += at(dy, i, j) * w / n;
        mean_gx += at(dy, i, j) * w * normalized / n;
      }
      for (index_t j = 0; j < cols; ++j) {
        const double normalized = (at(x, i, j) - mean) / deviation;
        dx(i, j) = (at(dy, i, j) * static_cast<double>(weight[j]) - mean_g - normalized * mean_gx) /
                   deviation;
      }
    }
  }
};

}  // namespace

TEST_CASE("layer_norm's known values", "[layer_norm]") {
  const Tensor<double> x({2, 2}, {1, 3, 5, 5}), weight({2}, {2, 4}), bias({2}, {0.5, -0.5});
  Tensor<double> y, mean, inv_std;
  ops::layer_norm(x, weight, &bias, y, mean, inv_std, 0.25);
  CHECK(mean[0] == 2);
  CHECK(mean[1] == 5);
  CHECK(inv_std[0] == approx(1 / std::sqrt(1.25)));
  CHECK(inv_std[1] == 2);
  CHECK(y(0, 0) == approx(0.5 - 2 / std::sqrt(1.25)));
  CHECK(y(0, 1) == approx(-0.5 + 4 / std::sqrt(1.25)));
  CHECK(y(1, 0) == 0.5);
  CHECK(y(1, 1) == -0.5);
}

TEMPLATE_TEST_CASE("layer_norm and its gradients on ragged sizes", "[layer_norm]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;
  for (const index_t rows : {0, 1, 10, 33}) {
    for (const index_t cols : {1, 2, 7, 10, 15, 16, 17, 31, 33, 64, 130, 784, 1001}) {
      for (const bool has_bias : {true, false}) {
        INFO("x is (" << rows << ", " << cols << "), " << (has_bias ? "with" : "without")
                      << " bias, seeds 1 to 4");
        const auto x = random_tensor<T>({rows, cols}, 1), dy = random_tensor<T>({rows, cols}, 2);
        const auto weight = random_tensor<T>({cols}, 3), bias = random_tensor<T>({cols}, 4);
        const Tensor<T>* b = has_bias ? &bias : nullptr;
        // A row of one column has no variance, and a small eps would blow rounding up.
        const double eps = cols < 3 ? 0.1 : 1e-5;
        const Reference expected(x, weight, b, dy, eps);
        Tensor<T> y, mean, inv_std, dx, dweight, dbias;
        ops::layer_norm(x, weight, b, y, mean, inv_std, eps);
        ops::layer_norm_backward(dy, x, weight, mean, inv_std, &dx, &dweight, &dbias);
        REQUIRE(max_error(y, expected.y) < tolerance);
        REQUIRE(max_error(dx, expected.dx) < tolerance);
        REQUIRE(max_error(dweight, expected.dweight) < tolerance);
        REQUIRE(max_error(dbias, expected.dbias) < tolerance);
      }
    }
  }
}

TEST_CASE("layer_norm's gradients match finite differences", "[layer_norm][gradient]") {
  for (const Shape shape : {Shape{3, 7}, Shape{2, 2, 33}}) {
    auto x = random_tensor<double>(shape, 1);
    auto weight = random_tensor<double>({shape.cols()}, 2);
    auto bias = random_tensor<double>({shape.cols()}, 3);
    const auto c = random_tensor<double>(shape, 4);
    Tensor<double> y, mean, inv_std, dx, dweight, dbias;
    ops::layer_norm(x, weight, &bias, y, mean, inv_std, 1e-5);
    ops::layer_norm_backward(c, x, weight, mean, inv_std, &dx, &dweight, &dbias);
    const auto loss = [&] {
      Tensor<double> out, m, s;
      ops::layer_norm(x, weight, &bias, out, m, s, 1e-5);
      return dot(out, c);
    };
    check_gradient(x, dx, loss);
    check_gradient(weight, dweight, loss);
    check_gradient(bias, dbias, loss);
  }
}

TEST_CASE("layer_norm keeps its accuracy far from zero", "[layer_norm]") {
  // Multiples of 1/64 near 4096: E[x²] - E[x]² would have no digit left in float.
  for (const index_t cols : {33, 1000}) {
    INFO("rows of " << cols);
    Tensor<float> x({2, cols});
    for (index_t j = 0; j < 2 * cols; ++j) x[j] = 4096.0f + static_cast<float>(j * 37 % 64) / 64;
    Tensor<float> weight({cols}), y, mean, inv_std;
    ops::fill(weight, 1.0);
    ops::layer_norm(x, weight, static_cast<Tensor<float>*>(nullptr), y, mean, inv_std, 1e-5);
    const Reference expected(x, weight, static_cast<Tensor<float>*>(nullptr), x, 1e-5);
    // What is left is half a unit in the last place of the mean, 2.4e-4, over the deviation, 0.29.
    CHECK(max_error(y, expected.y) < 1e-3);
    double variance = 0;
    for (const float v : y.span().first(static_cast<std::size_t>(cols))) {
      variance += double{v} * double{v} / static_cast<double>(cols);
    }
    CHECK(variance == approx(1).epsilon(2e-4));
  }
}

TEST_CASE("layer_norm does not depend on the number of threads", "[layer_norm]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({301, 130}, 1), dy = random_tensor<float>({301, 130}, 2);
  const auto weight = random_tensor<float>({130}, 3);
  const auto run = [&](int threads) {
    lora::set_num_threads(threads);
    std::vector<Tensor<float>> results(6);
    ops::layer_norm(x, weight, &weight, results[0], results[1], results[2], 1e-5);
    ops::layer_norm_backward(dy, x, weight, results[1], results[2], &results[3], &results[4],
                             &results[5]);
    return results;
  };
  const auto expected = run(1);
  for (const int threads : {2, 3, 8}) {
    INFO(threads << " threads");
    const auto results = run(threads);
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], expected[i]));
  }
}

TEST_CASE("layer_norm_backward gives the gradients that are asked for, or adds to them",
          "[layer_norm][gradient]") {
  for (const index_t rows : {0, 3, 100}) {
    INFO(rows << " rows");
    const auto x = random_tensor<double>({rows, 10}, 1), dy = random_tensor<double>({rows, 10}, 2);
    const auto weight = random_tensor<double>({10}, 3), before = random_tensor<double>({10}, 4);
    Tensor<double> y, mean, inv_std, dx, dweight, dbias, alone;
    ops::layer_norm(x, weight, &weight, y, mean, inv_std, 1e-5);
    const auto backward = [&](Tensor<double>* to_x, Tensor<double>* to_weight,
                              Tensor<double>* to_bias, bool add_weight, bool add_bias) {
      ops::layer_norm_backward(dy, x, weight, mean, inv_std, to_x, to_weight, to_bias, add_weight,
                               add_bias);
    };
    backward(&dx, &dweight, &dbias, false, false);
    backward(&alone, nullptr, nullptr, false, false);
    CHECK(same_bits(alone, dx));
    backward(nullptr, &alone, nullptr, false, false);
    CHECK(same_bits(alone, dweight));
    backward(nullptr, nullptr, &alone, false, false);
    CHECK(same_bits(alone, dbias));

    Tensor<double> sum = before, fresh;
    backward(nullptr, &sum, &fresh, true, false);
    CHECK(same_bits(fresh, dbias));
    for (index_t j = 0; j < 10; ++j) CHECK(sum[j] == approx(before[j] + dweight[j]));
    sum = before;
    backward(nullptr, &fresh, &sum, false, true);
    CHECK(same_bits(fresh, dweight));
    for (index_t j = 0; j < 10; ++j) CHECK(sum[j] == approx(before[j] + dbias[j]));

    Tensor<double> over = dy;
    ops::layer_norm_backward(over, x, weight, mean, inv_std, &over, &dweight, &dbias);
    CHECK(same_bits(over, dx));
    CHECK(same_bits(fresh, dweight));
  }
}

TEST_CASE("layer_norm takes every leading size", "[layer_norm]") {
  const auto x = random_tensor<float>({2, 3, 2, 5}, 1);
  const Tensor<float> rows({12, 5}, x.span());
  const auto weight = random_tensor<float>({5}, 2);
  Tensor<float> y, expected, mean, inv_std;
  ops::layer_norm(x, weight, &weight, y, mean, inv_std, 1e-5);
  CHECK(mean.shape() == Shape{12});
  ops::layer_norm(rows, weight, &weight, expected, mean, inv_std, 1e-5);
  CHECK(y.shape() == x.shape());
  CHECK(same_bits(Tensor<float>({12, 5}, y.span()), expected));
}

TEST_CASE("layer_norm names what does not fit", "[layer_norm][errors]") {
  const Tensor<float> x({2, 5}), weight({5}), four({4});
  Tensor<float> y, mean, inv_std, dx;
  CHECK_THROWS_WITH(ops::layer_norm(x, four, &four, y, mean, inv_std, 1e-5),
                    contains("layer_norm: x is (2, 5) on cpu, weight is (4,) on cpu"));
  CHECK_THROWS_WITH(ops::layer_norm(x, weight, &four, y, mean, inv_std, 1e-5),
                    contains("layer_norm: bias is (4,) on cpu, weight is (5,) on cpu"));
  CHECK_THROWS_AS(ops::layer_norm(weight, weight, &weight, y, mean, inv_std, 1e-5),
                  lora::ShapeError);
  ops::layer_norm(x, weight, &weight, y, mean, inv_std, 1e-5);
  CHECK_THROWS_WITH(ops::layer_norm_backward(y, x, weight, four, inv_std, &dx, &dx, &dx),
                    contains("layer_norm_backward: mean is (4,) on cpu, x is (2, 5) on cpu: mean "
                             "must have a number for each row of x"));
  CHECK_THROWS_AS(ops::layer_norm_backward(four, x, weight, mean, inv_std, &dx, &dx, &dx),
                  lora::ShapeError);
  Tensor<float> dbias({4});
  CHECK_THROWS_WITH(
      ops::layer_norm_backward(y, x, weight, mean, inv_std, &dx, &y, &dbias, false, true),
      contains("dbias is (4,) on cpu, weight is (5,) on cpu"));
}
