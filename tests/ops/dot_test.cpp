// SPDX-License-Identifier: MIT
#include <lora/ops/dot.hpp>

#include <array>
#include <cmath>
#include <vector>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

// ‖dyᵀ x‖², element by element.
template <class T>
double formed_norm(const Tensor<T>& dy, const Tensor<T>& x) {
  double norm = 0;
  for (index_t o = 0; o < dy.dim(1); ++o) {
    for (index_t k = 0; k < x.dim(1); ++k) {
      double element = 0;
      for (index_t b = 0; b < dy.dim(0); ++b) element += double{dy(b, o)} * double{x(b, k)};
      norm += element * element;
    }
  }
  return norm;
}

template <class T>
double factored_norm(const Tensor<T>& dy, const Tensor<T>& x) {
  Tensor<double> results({3}, {-1, -1, -1});
  ops::squared_norm_factored(dy, x, results, 1);
  CHECK(results[0] == -1);
  CHECK(results[2] == -1);
  return results[1];
}

}  // namespace

TEMPLATE_TEST_CASE("dot sums all products", "[ops][dot]", float, double) {
  for (const index_t size : {0, 1, 3, 10, 31, 784, 1000, 1300, 1501, 4095, 4097, 70001, 300007}) {
    INFO("size " << size << ", seeds 1 and 2");
    const auto x = random_tensor<TestType>({size}, 1), y = random_tensor<TestType>({size}, 2);
    double expected = 0, magnitude = 0;
    for (index_t i = 0; i < size; ++i) {
      expected += double{x[i]} * double{y[i]};
      magnitude += std::fabs(double{x[i]} * double{y[i]});
    }
    CHECK(std::fabs(ops::dot(x, y) - expected) <= 1e-13 * magnitude);
    Tensor<double> results({2}, {7, 7});
    ops::dot(x, y, results, 1);
    CHECK(results[0] == 7);
    CHECK(results[1] == ops::dot(x, y));
  }
}

TEST_CASE("dot adds floats in double", "[ops][dot]") {
  Tensor<float> x({20000});
  ops::fill(x, 1e-3);
  x[0] = 1e3f;
  const double small = double{x[1]} * double{x[1]};
  CHECK(ops::dot(x, x) - 1e6 == approx(19999 * small).epsilon(1e-6));
  CHECK(std::isnan(ops::dot(x, Tensor<float>({20000}, std::vector<float>(20000, NAN)))));
}

TEMPLATE_TEST_CASE("squared_norm_factored is the norm of the product", "[ops][dot]", float,
                   double) {
  for (const auto& [batch, out, in] : {std::array<index_t, 3>{0, 4, 5},
                                       {1, 1, 1},
                                       {1, 784, 10},
                                       {2, 10, 33},
                                       {3, 31, 7},
                                       {10, 101, 130},
                                       {11, 1000, 65},
                                       {8, 4, 3},
                                       {23, 17, 19}}) {
    INFO("(" << batch << ", " << out << ") and (" << batch << ", " << in << "), seeds 1 and 2");
    const auto dy = random_tensor<TestType>({batch, out}, 1);
    const auto x = random_tensor<TestType>({batch, in}, 2);
    CHECK(factored_norm(dy, x) == approx(formed_norm(dy, x)).epsilon(1e-12));
  }
}

TEST_CASE("squared_norm_factored of rows that cancel is small, not negative", "[ops][dot]") {
  Tensor<float> dy = random_tensor<float>({2, 50}, 1), x = random_tensor<float>({2, 40}, 2);
  for (index_t k = 0; k < 50; ++k) dy(1, k) = -dy(0, k);
  for (index_t k = 0; k < 40; ++k) x(1, k) = x(0, k);
  CHECK(factored_norm(dy, x) == 0);
  x(1, 7) += 1e-3f;
  CHECK(factored_norm(dy, x) == approx(formed_norm(dy, x)).epsilon(1e-6));
}

TEST_CASE("sums of products do not depend on the number of threads", "[ops][dot][threads]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({70001}, 1), y = random_tensor<float>({70001}, 2);
  const auto dy = random_tensor<float>({13, 300}, 3), factor = random_tensor<float>({13, 200}, 4);
  lora::set_num_threads(1);
  const double dot = ops::dot(x, y), norm = factored_norm(dy, factor);
  for (const int threads : {2, 3, 5}) {
    INFO(threads << " threads");
    lora::set_num_threads(threads);
    CHECK(ops::dot(x, y) == dot);
    CHECK(factored_norm(dy, factor) == norm);
  }
}

TEST_CASE("dot names what does not fit", "[ops][dot][errors]") {
  const Tensor<float> x({2, 3}), y({3, 2});
  CHECK_THROWS_WITH(ops::dot(x, y), contains("dot: x is (2, 3)") && contains("y is (3, 2)"));
  Tensor<double> results({1});
  CHECK_THROWS_WITH(ops::squared_norm_factored(x, y, results, 0),
                    contains("squared_norm_factored: dy is (2, 3)") && contains("x is (3, 2)"));
}
