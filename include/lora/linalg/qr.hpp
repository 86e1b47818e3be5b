// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <utility>

#include <lora/linalg/householder.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

/// A = Q R
template <class T>
struct QR {
  Tensor<T> q;  ///< (m, k), orthonormal columns
  Tensor<T> r;  ///< (k, n), zero below the diagonal
};

/// The first k columns of Q and rows of R for a matrix (m, n), 0 <= k <= min(m, n), by Householder
/// reflections in double. With k below min(m, n), Q R is A projected on the span of its first k
/// columns.
///
/// Signs are those of LAPACK, and so of torch.linalg.qr: each diagonal element of R has the sign
/// opposite to that of the element it was made from; where there was nothing to eliminate below
/// that element, as in the last row of a square matrix, it is left as it is. Q has orthonormal
/// columns also where A lacks rank. Throws ShapeError, DeviceError or ValueError unless `a` is a
/// finite matrix on the CPU and k fits.
template <class T>
QR<T> qr(const Tensor<T>& a, index_t k) {
  detail::Scaled scaled = detail::load("qr", "a", a);
  if (k != 0) detail::require_rank("qr", a.shape(), k);
  const detail::Householder<double> factors(std::move(scaled.x), k, false);
  return {detail::store<T>(factors.q(0, k)), detail::store<T>(factors.r(), scaled.exponent)};
}

/// The thin factorisation: k = min(m, n).
template <class T>
QR<T> qr(const Tensor<T>& a) {
  return qr(a, std::min(a.matrix().rows, a.matrix().cols));
}

}  // namespace lora::inline v0::linalg
