// SPDX-License-Identifier: MIT
#include <lora/linalg/truncated_svd.hpp>

#include <cmath>
#include <limits>
#include <utility>

#include <lora/linalg/randomized_svd.hpp>

#include "support/host_backend.hpp"
#include "support/matrices.hpp"

using namespace lora_test;
using lora::linalg::randomized_svd;
using lora::linalg::svd;
using lora::linalg::SVD;
using lora::linalg::truncated_svd;

namespace {

/// Orthonormality, and |A v - s u| and |Aᵀu - s v| against `tolerance` times the largest s.
template <class T>
void check_triplets(const Tensor<T>& a, const SVD<T>& f, index_t rank, double tolerance) {
  REQUIRE(f.u.shape() == Shape{a.dim(0), rank});
  REQUIRE(f.s.shape() == Shape{rank});
  REQUIRE(f.v.shape() == Shape{a.dim(1), rank});
  CHECK(orthonormality_error(f.u) < 50 * double{std::numeric_limits<T>::epsilon()});
  CHECK(orthonormality_error(f.v) < 50 * double{std::numeric_limits<T>::epsilon()});
  for (index_t i = 1; i < rank; ++i) REQUIRE(f.s[i] <= f.s[i - 1]);
  const double bound = tolerance * std::sqrt(static_cast<double>(rank)) * largest(f.s);
  CHECK(distance(product(a, f.v), scale_columns(f.u, f.s)) <= bound);
  CHECK(distance(product(transposed(a), f.u), scale_columns(f.v, f.s)) <= bound);
}

template <class T>
double approximation_error(const Tensor<T>& a, const SVD<T>& f) {
  return distance(product(scale_columns(f.u, f.s), transposed(f.v)), a);
}

double root_of_squares(const std::vector<double>& sigma, std::size_t first) {
  double sum = 0;
  for (std::size_t i = first; i < sigma.size(); ++i) sum += sigma[i] * sigma[i];
  return std::sqrt(sum);
}

}  // namespace

TEMPLATE_TEST_CASE("truncated_svd: the leading triplets of flat spectra", "[linalg][svd]", float,
                   double) {
  for (const auto& [m, n, rank] : {std::tuple{1, 1, 1},
                                   {10, 784, 1},
                                   {65, 65, 7},
                                   {64, 300, 8},
                                   {300, 65, 1},
                                   {200, 130, 16},
                                   {130, 201, 5},
                                   {90, 80, 80}}) {
    INFO("shape " << m << ", " << n << ", rank " << rank);
    const auto a = random_tensor<TestType>({m, n}, 7);
    const SVD<TestType> f = truncated_svd(a, rank);
    check_triplets(a, f, rank, 40 * double{std::numeric_limits<TestType>::epsilon()});
    const SVD<TestType> whole = svd(a);
    for (index_t i = 0; i < rank; ++i) {
      REQUIRE(std::fabs(f.s[i] - whole.s[i]) <=
              40 * std::numeric_limits<TestType>::epsilon() * whole.s[0]);
    }
  }
}

TEST_CASE("truncated_svd finds known spectra, multiple values too", "[linalg][svd]") {
  std::vector<double> falling(90), slow(90), copies(90), two(90, 1.0), graded(40);
  for (std::size_t i = 0; i < 90; ++i) {
    const double x = static_cast<double>(i);
    falling[i] = std::pow(0.7, x);
    slow[i] = 1 / (1 + 0.01 * x);
    copies[i] = i < 5 ? 5.0 : std::pow(0.8, x);
    if (i < 3) two[i] = 2;
    if (i < 40) graded[i] = std::pow(10.0, -12 * x / 39);
  }
  std::vector<double> pairs = slow;
  for (std::size_t i = 1; i < 90; i += 2) pairs[i] = pairs[i - 1];
  std::vector<double> cluster = falling;
  for (std::size_t i = 0; i < 4; ++i) cluster[i] = 1 - 1e-9 * static_cast<double>(i);
  const std::vector<std::pair<std::string, std::vector<double>>> spectra{
      {"falling", falling}, {"slow", slow},      {"copies", copies},
      {"two values", two},  {"graded", graded},  {"one value", std::vector<double>(90, 1.0)},
      {"pairs", pairs},     {"cluster", cluster}};
  for (const auto& [name, sigma] : spectra) {
    for (const auto& [m, n] : {std::pair{120, 90}, {90, 100}}) {
      const Tensor<double> a = with_spectrum(m, n, sigma, 11);
      for (const index_t rank : {1, 2, 4, 7, 20}) {
        INFO(name << " (" << m << ", " << n << "), rank " << rank);
        const SVD<double> f = truncated_svd(a, rank);
        check_triplets(a, f, rank, 1e-14);
        for (index_t i = 0; i < rank; ++i) {
          REQUIRE(std::fabs(f.s[i] - sigma[static_cast<std::size_t>(i)]) < 2e-14 * sigma[0]);
        }
        // Eckart and Young: no matrix of that rank is nearer.
        CHECK(std::fabs(approximation_error(a, f) -
                        root_of_squares(sigma, static_cast<std::size_t>(rank))) <
              1e-12 * root_of_squares(sigma, 0));
      }
    }
  }
}

TEST_CASE("truncated_svd of matrices that lack rank", "[linalg][svd]") {
  const Tensor<double> a = with_spectrum(100, 80, {3, 2, 1}, 4);
  const SVD<double> f = truncated_svd(a, 6);
  check_triplets(a, f, 6, 1e-14);
  CHECK(f.s[2] == approx(1));
  CHECK(f.s[3] < 1e-14);
  const Tensor<double> zero({100, 80});
  const SVD<double> nothing = truncated_svd(zero, 5);
  CHECK(largest(nothing.s) == 0);
  check_triplets(zero, nothing, 5, 0);
  Tensor<double> one({70, 70});
  one(69, 3) = -2;
  const SVD<double> single = truncated_svd(one, 2);
  CHECK(single.s[0] == approx(2));
  CHECK(single.u(69, 0) == approx(1));
  CHECK(single.v(3, 0) == approx(-1));
}

TEST_CASE("truncated_svd takes numbers near the ends of the range", "[linalg][svd]") {
  for (const double size : {1e-300, 1e300}) {
    INFO("size " << size);
    Tensor<double> a = with_spectrum(80, 70, {4, 2, 1}, 3);
    for (double& value : a.span()) value *= size;
    const SVD<double> f = truncated_svd(a, 2);
    CHECK(f.s[1] / size == approx(2));
  }
}

TEST_CASE("truncated_svd does not depend on the number of threads", "[linalg][svd][threads]") {
  const ThreadCountGuard guard;
  const auto a = random_tensor<float>({403, 300}, 9);
  lora::set_num_threads(1);
  const SVD<float> alone = truncated_svd(a, 3);
  lora::set_num_threads(3);
  const SVD<float> together = truncated_svd(a, 3);
  CHECK(same_bits(alone.u, together.u));
  CHECK(same_bits(alone.s, together.s));
  CHECK(same_bits(alone.v, together.v));
}

TEST_CASE("randomized_svd is exact when the projection takes the whole space", "[linalg][svd]") {
  for (const auto& [m, n] : {std::pair{40, 12}, {12, 40}, {1, 9}, {9, 1}}) {
    INFO("shape " << m << ", " << n);
    const auto a = random_tensor<double>({m, n}, 6);
    const index_t rank = std::min<index_t>({m, n, 4});
    lora::PhiloxGenerator generator(1);
    const SVD<double> f = randomized_svd(a, rank, 0, generator);
    check_triplets(a, f, rank, 1e-14);
    const SVD<double> whole = svd(a);
    for (index_t i = 0; i < rank; ++i) CHECK(f.s[i] == approx(whole.s[i]));
  }
}

TEST_CASE("randomized_svd is near the best for falling spectra", "[linalg][svd]") {
  std::vector<double> sigma(80);
  for (std::size_t i = 0; i < 80; ++i) sigma[i] = 1 / (1 + static_cast<double>(i));
  const Tensor<double> a = with_spectrum(200, 80, sigma, 3);
  const double best = root_of_squares(sigma, 5);
  double before = INFINITY;
  for (const index_t iterations : {0, 1, 4}) {
    INFO(iterations << " iterations");
    lora::PhiloxGenerator generator(2);
    const SVD<double> f = randomized_svd(a, 5, iterations, generator);
    CHECK(orthonormality_error(f.u) < 1e-14);
    CHECK(orthonormality_error(f.v) < 1e-14);
    const double excess = approximation_error(a, f) / best - 1;
    CHECK(excess > -1e-12);
    CHECK(excess < before);
    before = excess;
  }
  CHECK(before < 1e-6);
}

TEST_CASE("randomized_svd depends on the generator alone", "[linalg][svd]") {
  const auto a = random_tensor<float>({90, 70}, 6);
  lora::PhiloxGenerator one(5), same(5), other(6);
  const SVD<float> f = randomized_svd(a, 3, 1, one);
  CHECK(same_bits(f.u, randomized_svd(a, 3, 1, same).u));
  CHECK_FALSE(same_bits(f.u, randomized_svd(a, 3, 1, other).u));
  const SVD<float> zero = randomized_svd(Tensor<float>({90, 70}), 3, 1, one);
  CHECK(largest(zero.s) == 0);
  CHECK(orthonormality_error(zero.v) < 1e-6);
}

TEST_CASE("truncated_svd and randomized_svd say what is wrong", "[linalg][svd]") {
  lora::PhiloxGenerator generator(1);
  const Tensor<float> a({4, 3});
  CHECK_THROWS_WITH(truncated_svd(a, 4),
                    contains("truncated_svd: rank 4 of a matrix (4, 3), expected 1 to 3"));
  CHECK_THROWS_AS(truncated_svd(a, 0), lora::ValueError);
  CHECK_THROWS_AS(truncated_svd(Tensor<float>({4}), 1), lora::ShapeError);
  CHECK_THROWS_WITH(randomized_svd(a, 4, 1, generator), contains("randomized_svd: rank 4"));
  CHECK_THROWS_WITH(randomized_svd(a, 1, -1, generator), contains("-1 iterations"));
  CHECK_THROWS_AS(randomized_svd(a, 1, 0, generator, -2), lora::ValueError);
  Tensor<float> infinite({4, 3});
  infinite[5] = INFINITY;
  CHECK_THROWS_AS(truncated_svd(infinite, 1), lora::ValueError);
  CHECK_THROWS_AS(randomized_svd(infinite, 1, 1, generator), lora::ValueError);
  const HostBackend device;
  CHECK_THROWS_AS(truncated_svd(Tensor<float>({2, 2}, lora::Device::cuda), 1), lora::DeviceError);
}
