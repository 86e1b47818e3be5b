// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/linalg/householder.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/linalg/svd.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

/// An approximation of the `rank` largest singular triplets of a matrix (m, n): A is projected on
/// the span of (A Aᵀ)^iterations A G, G normal of rank + oversampling columns, orthonormalized
/// after each product. Halko, Martinsson and Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1,
/// as torch.svd_lowrank. Good where the spectrum falls, or with several iterations; costs 2
/// iterations
/// + 2 products with A. Throws ShapeError, DeviceError or ValueError unless `a` is a finite matrix
/// on the CPU, 1 <= rank <= min(m, n), and neither count is negative.
template <class T>
SVD<T> randomized_svd(const Tensor<T>& a, index_t rank, index_t iterations, Generator& generator,
                      index_t oversampling = 10) {
  constexpr const char* kOp = "randomized_svd";
  const detail::Scaled scaled = detail::load(kOp, "a", a);
  detail::require_rank(kOp, a.shape(), rank);
  if (iterations < 0 || oversampling < 0) {
    throw ValueError(std::string(kOp) + ": " + std::to_string(iterations) + " iterations and " +
                     std::to_string(oversampling) +
                     " columns more than the rank, expected none below 0");
  }
  const index_t m = a.dim(0), n = a.dim(1);
  const index_t k = std::min({rank + oversampling, m, n});
  const MatrixView<const double> view = scaled.x.matrix();
  const auto orthonormal = [k](Tensor<double> x) {
    return detail::Householder<double>(std::move(x), k, false).q(0, k);
  };
  Tensor<double> x({n, k});
  generator.normal(x.span(), 0.0, 1.0);
  const auto times_a = [&] {
    return orthonormal(detail::multiply(cpu::as_is(view), cpu::as_is<double>(x.matrix()), m, n, k));
  };
  const auto times_a_transposed = [&](const Tensor<double>& y) {
    return detail::multiply(cpu::transposed(view), cpu::as_is<double>(y.matrix()), n, m, k);
  };
  Tensor<double> basis = times_a();
  for (index_t i = 0; i < iterations; ++i) {
    x = orthonormal(times_a_transposed(basis));
    basis = times_a();
  }
  // A ~ Q Qᵀ A, and (Qᵀ A)ᵀ = V S Wᵀ: U = Q W.
  SVD<double> svd = detail::jacobi_svd(times_a_transposed(basis));
  std::swap(svd.u, svd.v);
  svd.u = detail::multiply(cpu::as_is<double>(basis.matrix()), cpu::as_is<double>(svd.u.matrix()),
                           m, k, k);
  svd = detail::first_triplets(svd, rank);
  detail::fix_signs(svd);
  return detail::store<T>(svd, scaled.exponent);
}

}  // namespace lora::inline v0::linalg
