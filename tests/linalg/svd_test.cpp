// SPDX-License-Identifier: MIT
#include <lora/linalg/svd.hpp>

#include <cmath>
#include <limits>
#include <utility>

#include "support/host_backend.hpp"
#include "support/matrices.hpp"

using namespace lora_test;
using lora::linalg::low_rank_svd;
using lora::linalg::svd;
using lora::linalg::SVD;

namespace {

/// Shapes, orthonormality, order, signs, and A = U diag(s) Vᵀ.
template <class T>
void check_svd(const Tensor<T>& a, const SVD<T>& f, index_t k) {
  INFO("shape " << a.shape().to_string());
  const double tolerance = 20 * double{std::numeric_limits<T>::epsilon()};
  REQUIRE(f.u.shape() == Shape{a.dim(0), k});
  REQUIRE(f.s.shape() == Shape{k});
  REQUIRE(f.v.shape() == Shape{a.dim(1), k});
  CHECK(orthonormality_error(f.u) < 10 * tolerance);
  CHECK(orthonormality_error(f.v) < 10 * tolerance);
  for (index_t j = 0; j < k; ++j) {
    REQUIRE(f.s[j] >= 0);
    if (j > 0) REQUIRE(f.s[j] <= f.s[j - 1]);
    T extreme = 0;
    for (index_t i = 0; i < a.dim(0); ++i) {
      if (std::fabs(f.u(i, j)) > std::fabs(extreme)) extreme = f.u(i, j);
    }
    REQUIRE(extreme > 0);
  }
  const double size = std::sqrt(static_cast<double>(a.numel())) * largest(a);
  CHECK(distance(product(scale_columns(f.u, f.s), transposed(f.v)), a) <= tolerance * size);
}

template <class T>
void check_svd(const Tensor<T>& a) {
  check_svd(a, svd(a), std::min(a.dim(0), a.dim(1)));
}

}  // namespace

TEMPLATE_TEST_CASE("svd: orthonormal, in order, and the product is A", "[linalg][svd]", float,
                   double) {
  for (const auto& [m, n] : {std::pair{1, 1},
                             {1, 9},
                             {9, 1},
                             {2, 2},
                             {10, 10},
                             {17, 16},
                             {16, 17},
                             {100, 31},
                             {31, 100},
                             {1000, 10},
                             {10, 784}}) {
    check_svd(random_tensor<TestType>({m, n}, 3));
  }
}

TEST_CASE("svd of a row or a column is its length", "[linalg][svd]") {
  const SVD<double> column = svd(Tensor<double>({3, 1}, {-2, 1, -2}));
  CHECK(column.s[0] == approx(3));
  CHECK(column.u(0, 0) == approx(2.0 / 3));
  CHECK(column.v(0, 0) == approx(-1));
  CHECK(svd(Tensor<double>({1, 2}, {3, -4})).s[0] == approx(5));
}

TEST_CASE("svd finds known singular values", "[linalg][svd]") {
  const std::vector<std::vector<double>> spectra{
      {9, 7, 5, 3, 1},
      {1, 1, 1, 1, 1, 1, 1, 1},
      {3, 3, 2, 2, 2, 1},
      {1, 1 - 1e-13, 1 - 2e-13, 0.5, 0.5 - 1e-13},
      {1, 1e-3, 1e-6, 1e-9, 1e-12},
      {1e6, 1, 1e-6},
  };
  for (const auto& sigma : spectra) {
    for (const auto& [m, n] : {std::pair{12, 9}, {9, 12}, {8, 8}}) {
      INFO("spectrum of " << sigma.size() << " from " << sigma.front() << " to " << sigma.back());
      const Tensor<double> a = with_spectrum(m, n, sigma, 5);
      const SVD<double> f = svd(a);
      check_svd(a, f, std::min(m, n));
      for (index_t i = 0; i < f.s.numel(); ++i) {
        const auto k = static_cast<std::size_t>(i);
        CHECK(std::fabs(f.s[i] - (k < sigma.size() ? sigma[k] : 0)) < 3e-15 * sigma.front());
      }
    }
  }
}

TEST_CASE("svd keeps the relative precision of small singular values", "[linalg][svd]") {
  // Orthonormal columns times powers of ten, in no order: the singular values are the powers.
  const Tensor<double> q = random_orthonormal(30, 9, 2);
  Tensor<double> powers({9});
  for (index_t i = 0; i < 9; ++i) powers[i] = std::pow(10.0, -4.0 * static_cast<double>(i));
  Tensor<double> shuffled({9});
  for (index_t i = 0; i < 9; ++i) shuffled[i] = powers[(4 * i + 5) % 9];
  const Tensor<double> scaled = scale_columns(q, shuffled);
  for (const bool wide : {false, true}) {
    INFO((wide ? "rows" : "columns") << " of many sizes");
    const SVD<double> f = svd(wide ? transposed(scaled) : scaled);
    for (index_t i = 0; i < 9; ++i) CHECK(std::fabs(f.s[i] / powers[i] - 1) < 1e-14);
    CHECK(orthonormality_error(f.u) < 1e-14);
    CHECK(orthonormality_error(f.v) < 1e-14);
  }
}

TEST_CASE("svd of a matrix that lacks rank has whole bases", "[linalg][svd]") {
  check_svd(product(random_tensor<double>({20, 3}, 1), random_tensor<double>({3, 8}, 2)));
  check_svd(Tensor<double>({3, 3}, {0, 0, 0, 0, 2, 0, 0, 0, 0}));
  for (const auto& [m, n] : {std::pair{6, 4}, {4, 6}, {1, 5}}) {
    const SVD<float> zero = svd(Tensor<float>({m, n}));
    INFO("shape " << m << ", " << n);
    CHECK(largest(zero.s) == 0);
    CHECK(orthonormality_error(zero.u) == 0);
    CHECK(orthonormality_error(zero.v) == 0);
  }
  CHECK(svd(Tensor<float>({0, 4})).v.shape() == Shape{4, 0});
}

TEST_CASE("svd takes numbers near the ends of the range", "[linalg][svd]") {
  const std::vector<double> sigma{4, 2, 1};
  for (const double size : {1e-300, 1e-160, 1e160, 1e300}) {
    INFO("size " << size);
    Tensor<double> a = with_spectrum(7, 5, sigma, 3);
    for (double& value : a.span()) value *= size;
    const SVD<double> f = svd(a);
    for (index_t i = 0; i < 3; ++i) {
      CHECK(f.s[i] / size == approx(sigma[static_cast<std::size_t>(i)]));
    }
  }
}

TEST_CASE("svd has torch.linalg.svd's numbers, up to signs", "[linalg][svd][torch]") {
  // torch.linalg.svd of w[i, j] = ((7 i + 3 j) mod 11 - 5) / 4, signs as SVD has them
  Tensor<double> w({5, 4});
  for (index_t i = 0; i < 5; ++i) {
    for (index_t j = 0; j < 4; ++j) w(i, j) = static_cast<double>((7 * i + 3 * j) % 11 - 5) / 4;
  }
  const SVD<double> f = svd(w);
  CHECK(max_error(f.s, Tensor<double>({4}, {2.414289084511647, 2.0163015362945194,
                                            1.5062590165260465, 0.4603478101156305})) < 1e-14);
  CHECK(f.u(0, 0) == approx(-0.5299216228751885));
  CHECK(f.u(1, 0) == approx(0.6054799529509349));
  CHECK(f.v(2, 0) == approx(-0.5508115690540134));
  CHECK(f.u(4, 3) == approx(-0.3096359348482271));
  CHECK(f.v(0, 3) == approx(0.17253505730207913));
}

TEST_CASE("low_rank_svd is the svd of the product", "[linalg][svd]") {
  // (m, r, n), the inner size below, between and above the outer ones
  for (const auto& [m, r, n] :
       {std::tuple{30, 4, 20}, {20, 1, 30}, {5, 8, 20}, {20, 8, 5}, {6, 9, 7}, {1, 3, 1}}) {
    INFO("sizes " << m << ", " << r << ", " << n);
    const auto b = random_tensor<double>({m, r}, 1);
    const auto a = random_tensor<double>({r, n}, 2);
    const SVD<double> f = low_rank_svd(b, a);
    const Tensor<double> whole = product(b, a);
    check_svd(whole, f, std::min({m, r, n}));
    const SVD<double> expected = svd(whole);
    for (index_t i = 0; i < f.s.numel(); ++i) CHECK(f.s[i] == approx(expected.s[i]));
  }
}

TEST_CASE("low_rank_svd of an adapter that is zero, and of one of low rank", "[linalg][svd]") {
  const auto a = random_tensor<float>({4, 50}, 2);
  const SVD<float> zero = low_rank_svd(Tensor<float>({40, 4}), a);
  CHECK(largest(zero.s) == 0);
  CHECK(orthonormality_error(zero.u) < 1e-6);
  CHECK(orthonormality_error(zero.v) < 1e-6);
  Tensor<float> b({40, 4});
  for (index_t i = 0; i < 40; ++i) b(i, 2) = 1;
  const SVD<float> one = low_rank_svd(b, a);
  CHECK(one.s[0] > 1);
  CHECK(one.s[1] < 1e-5f);
}

TEST_CASE("svd and low_rank_svd say what is wrong", "[linalg][svd]") {
  CHECK_THROWS_WITH(svd(Tensor<float>({3})), contains("svd: a is (3,) on cpu, expected a matrix"));
  Tensor<double> a({2, 2});
  a[0] = INFINITY;
  CHECK_THROWS_WITH(svd(a), contains("holds inf, expected finite"));
  CHECK_THROWS_WITH(low_rank_svd(Tensor<float>({3, 2}), Tensor<float>({3, 2})),
                    contains("low_rank_svd: b is (3, 2) on cpu, a is (3, 2) on cpu"));
  CHECK_THROWS_AS(low_rank_svd(Tensor<double>({2, 2}), a), lora::ValueError);
  const HostBackend device;
  CHECK_THROWS_AS(svd(Tensor<float>({2, 2}, lora::Device::cuda)), lora::DeviceError);
}
