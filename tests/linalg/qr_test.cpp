// SPDX-License-Identifier: MIT
#include <lora/linalg/qr.hpp>

#include <cmath>
#include <limits>
#include <utility>

#include "support/host_backend.hpp"
#include "support/matrices.hpp"

using namespace lora_test;
using lora::linalg::QR;
using lora::linalg::qr;

namespace {

template <class T>
void check_qr(const Tensor<T>& a) {
  INFO("shape " << a.shape().to_string());
  const QR<T> f = qr(a);
  const index_t k = std::min(a.dim(0), a.dim(1));
  const double tolerance = 20 * double{std::numeric_limits<T>::epsilon()};
  REQUIRE(f.q.shape() == Shape{a.dim(0), k});
  REQUIRE(f.r.shape() == Shape{k, a.dim(1)});
  CHECK(orthonormality_error(f.q) < tolerance);
  CHECK(distance(product(f.q, f.r), a) <=
        tolerance * std::sqrt(static_cast<double>(a.numel())) * std::max(largest(a), 1e-300));
  for (index_t i = 0; i < k; ++i) {
    for (index_t j = 0; j < i; ++j) REQUIRE(f.r(i, j) == 0);
  }
}

// ((7 i + 3 j) mod 11 - 5) / 4
Tensor<double> golden_matrix() {
  Tensor<double> a({5, 4});
  for (index_t i = 0; i < 5; ++i) {
    for (index_t j = 0; j < 4; ++j) a(i, j) = static_cast<double>((7 * i + 3 * j) % 11 - 5) / 4;
  }
  return a;
}

}  // namespace

TEMPLATE_TEST_CASE("qr: Q is orthonormal, R upper triangular, Q R = A", "[linalg][qr]", float,
                   double) {
  for (const auto& [m, n] : {std::pair{1, 1},
                             {1, 7},
                             {7, 1},
                             {10, 10},
                             {13, 12},
                             {12, 13},
                             {100, 33},
                             {33, 100},
                             {1001, 17},
                             {784, 10}}) {
    check_qr(random_tensor<TestType>({m, n}, 3));
  }
}

TEST_CASE("qr has the signs of torch.linalg.qr", "[linalg][qr][torch]") {
  // q, r = torch.linalg.qr(w), of golden_matrix, its transpose and its first four rows
  const Tensor<double> w = golden_matrix();
  const QR<double> tall = qr(w);
  const Tensor<double> r(
      {4, 4}, {1.920286436967152, 0.2278305942164418, -0.7485862381397373, 0.0650944554904117, 0,
               -1.839998157699888, 0.8923645633400585, 0.8572456998795788, 0, 0,
               -1.1261900950384458, 1.0799658747197032, 0, 0, 0, -0.8482724982830008});
  CHECK(max_error(tall.r, r) < 1e-14);
  CHECK(tall.q(0, 0) == approx(-0.6509445549041195));
  CHECK(tall.q(1, 3) == approx(-0.6592634746014053));
  CHECK(tall.q(4, 1) == approx(-0.5273586709803185));

  const QR<double> wide = qr(transposed(w));
  CHECK(wide.r.shape() == Shape{4, 5});
  CHECK(wide.q(3, 3) == approx(0.5153385008824813));
  CHECK(wide.r(0, 4) == approx(-0.77407026981321));
  CHECK(wide.r(3, 4) == approx(-0.4723936258089413));

  const QR<double> square = qr(Tensor<double>({4, 4}, w.span().first(16)));
  CHECK(square.r(0, 0) == approx(1.903943276465977));
  CHECK(square.r(2, 2) == approx(-1.0018153739574764));
  CHECK(square.r(3, 3) == approx(0.7951830314535804));
}

TEST_CASE("qr leaves what is triangular as it is", "[linalg][qr]") {
  const Tensor<double> a({3, 3}, {-2, 1, 0, 0, 3, 5, 0, 0, -4});
  const QR<double> f = qr(a);
  CHECK(same_bits(f.r, a));
  CHECK(same_bits(f.q, Tensor<double>({3, 3}, {1, 0, 0, 0, 1, 0, 0, 0, 1})));
}

TEST_CASE("qr has an orthonormal Q for matrices that lack rank", "[linalg][qr]") {
  check_qr(Tensor<double>({20, 6}));
  check_qr(product(random_tensor<double>({30, 3}, 1), random_tensor<double>({3, 11}, 2)));
  Tensor<double> repeated = random_tensor<double>({9, 5}, 4);
  for (index_t i = 0; i < 9; ++i) repeated(i, 3) = repeated(i, 1), repeated(i, 0) = 0;
  check_qr(repeated);
}

TEST_CASE("qr takes numbers near the ends of the range", "[linalg][qr]") {
  for (const double size : {1e-305, 1e-200, 1e200, 1e306}) {
    INFO("size " << size);
    Tensor<double> a = random_tensor<double>({12, 5}, 3);
    for (double& value : a.span()) value *= size;
    const QR<double> f = qr(a);
    CHECK(orthonormality_error(f.q) < 1e-14);
    CHECK(largest(f.r) > size);
    CHECK(largest(f.r) < 10 * size);
  }
  Tensor<double> graded = random_tensor<double>({12, 5}, 3);
  for (index_t i = 0; i < 12; ++i) graded(i, 2) *= 1e-160, graded(i, 4) *= 1e-250;
  CHECK(orthonormality_error(qr(graded).q) < 1e-14);
}

TEST_CASE("qr of the first k columns is the start of the whole", "[linalg][qr]") {
  for (const auto& [m, n] : {std::pair{40, 25}, {25, 40}}) {
    INFO("shape " << m << ", " << n);
    const auto a = random_tensor<double>({m, n}, 8);
    const QR<double> whole = qr(a), part = qr(a, 7);
    REQUIRE(part.q.shape() == Shape{m, 7});
    REQUIRE(part.r.shape() == Shape{7, n});
    for (index_t c = 0; c < 7; ++c) {
      for (index_t i = 0; i < m; ++i) REQUIRE(std::fabs(part.q(i, c) - whole.q(i, c)) < 1e-14);
      for (index_t j = 0; j < n; ++j) REQUIRE(std::fabs(part.r(c, j) - whole.r(c, j)) < 1e-14);
    }
  }
}

TEST_CASE("qr of nothing", "[linalg][qr]") {
  CHECK(qr(Tensor<float>({5, 0})).q.shape() == Shape{5, 0});
  CHECK(qr(Tensor<float>({0, 5})).r.shape() == Shape{0, 5});
}

TEST_CASE("qr says what is wrong", "[linalg][qr]") {
  CHECK_THROWS_WITH(qr(Tensor<float>({3, 2}), 3),
                    contains("qr: rank 3 of a matrix (3, 2), expected 1 to 2"));
  CHECK_THROWS_AS(qr(Tensor<float>({3, 2}), -1), lora::ValueError);
  CHECK_THROWS_AS(qr(Tensor<float>({3})), lora::ShapeError);
  CHECK_THROWS_AS(qr(Tensor<float>({3}), 1), lora::ShapeError);
  Tensor<float> a({2, 2});
  a[3] = NAN;
  CHECK_THROWS_WITH(qr(a), contains("qr: a is (2, 2) on cpu and holds nan, expected finite"));
  const HostBackend device;
  CHECK_THROWS_AS(qr(Tensor<float>({2, 2}, lora::Device::cuda)), lora::DeviceError);
}
