// SPDX-License-Identifier: MIT
#include <lora/linalg/low_rank_norms.hpp>

#include <cmath>

#include <lora/linalg/svd.hpp>

#include "support/matrices.hpp"

using namespace lora_test;
using lora::linalg::low_rank_norms;

TEST_CASE("the norms of a product are those of its singular values", "[linalg][low_rank_norms]") {
  const index_t r = GENERATE(1, 2, 5, 16, 33);
  const double size = GENERATE(1.0, 1e-30, 1e30);
  INFO("rank " << r << ", size " << size);
  Tensor<float> b = random_tensor<float>({40, r}, 1), a = random_tensor<float>({r, 70}, 2);
  for (float& x : a.span()) x = static_cast<float>(size * x);
  const auto norms = low_rank_norms(transposed(b), a);
  double square = 0;
  const auto svd = lora::linalg::low_rank_svd(convert<double>(b), convert<double>(a));
  for (const double s : svd.s.span()) square += s * s;
  CHECK(norms.frobenius == approx(std::sqrt(square)).epsilon(1e-9));
  CHECK(norms.spectral == approx(svd.s[0]).epsilon(1e-7));
  CHECK(norms.a == approx(distance(a, Tensor<float>(a.shape()))).epsilon(1e-9));
  CHECK(norms.b == approx(distance(b, Tensor<float>(b.shape()))).epsilon(1e-9));
}

TEST_CASE("the norms of zero, and of what is no product", "[linalg][low_rank_norms]") {
  const Tensor<float> a = random_tensor<float>({3, 5}, 1);
  const auto norms = low_rank_norms(Tensor<float>({3, 4}), a);
  CHECK(norms.b == 0);
  CHECK(norms.frobenius == 0);
  CHECK(norms.spectral == 0);
  CHECK(norms.a > 0);
  CHECK_THROWS_AS(low_rank_norms(Tensor<float>({2, 4}), a), lora::ShapeError);
  CHECK_THROWS_AS(low_rank_norms(Tensor<float>({1, 1}, {NAN}), Tensor<float>({1, 1})),
                  lora::ValueError);
}

TEST_CASE("the largest singular value is found among equal ones", "[linalg][low_rank_norms]") {
  const Tensor<double> q = random_orthonormal(20, 4, 3);
  const auto norms = low_rank_norms(transposed(q), transposed(random_orthonormal(9, 4, 5)));
  CHECK(norms.spectral == approx(1).epsilon(1e-9));
  CHECK(norms.frobenius == approx(2).epsilon(1e-9));
}
