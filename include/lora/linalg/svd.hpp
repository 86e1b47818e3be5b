// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/linalg/householder.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/linalg/vectors.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

/// A = U diag(s) Vᵀ, or the best approximation of A of that form; s falls and is never negative.
/// Signs: in each column of U the element of largest size, the first of equals, is positive.
template <class T>
struct SVD {
  Tensor<T> u;  ///< (m, k), orthonormal columns
  Tensor<T> s;  ///< (k,)
  Tensor<T> v;  ///< (n, k), orthonormal columns
};

namespace detail {

template <class T>
void fix_signs(SVD<T>& svd) {
  for (index_t j = 0; j < svd.u.dim(1); ++j) {
    T largest = 0;
    for (index_t i = 0; i < svd.u.dim(0); ++i) {
      if (std::fabs(svd.u(i, j)) > std::fabs(largest)) largest = svd.u(i, j);
    }
    if (largest >= 0) continue;
    for (index_t i = 0; i < svd.u.dim(0); ++i) svd.u(i, j) = -svd.u(i, j);
    for (index_t i = 0; i < svd.v.dim(0); ++i) svd.v(i, j) = -svd.v(i, j);
  }
}

template <class T>
SVD<T> first_triplets(const SVD<T>& svd, index_t rank) {
  return {columns(svd.u, 0, 1, rank),
          Tensor<T>({rank}, svd.s.span().first(static_cast<std::size_t>(rank))),
          columns(svd.v, 0, 1, rank)};
}

template <class To, class From>
SVD<To> store(const SVD<From>& svd, int exponent) {
  return {store<To>(svd.u), store<To>(svd.s, exponent), store<To>(svd.v)};
}

/// Rotates the rows of `x` (k, n) until they are orthogonal to each other, by one-sided Jacobi
/// rotations, and returns the orthogonal matrix J (k, k) with new x = J old x.
template <class T>
Tensor<T> orthogonalize_rows(Tensor<T>& x) {
  const index_t k = x.dim(0), n = x.dim(1);
  Tensor<T> j({k, k});
  std::vector<T> squares(static_cast<std::size_t>(k));
  const auto square = [&](index_t i) -> T& { return squares[static_cast<std::size_t>(i)]; };
  const auto row = [](Tensor<T>& of, index_t i) { return of.data() + i * of.dim(1); };
  for (index_t i = 0; i < k; ++i) {
    j(i, i) = 1;
    square(i) = dot(row(x, i), row(x, i), n);
  }
  const T tolerance =
      std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(std::max<index_t>(n, 4)));
  bool done = false;
  // Five to ten sweeps are enough; the bound is for rows that rounding keeps at the tolerance.
  for (int sweep = 0; sweep < 40 && !done; ++sweep) {
    done = true;
    for (index_t p = 0; p < k; ++p) {
      for (index_t q = p + 1; q < k; ++q) {
        if (square(p) < kTinySquare || square(q) < kTinySquare) continue;
        const T product = dot(row(x, p), row(x, q), n);
        if (std::fabs(product) <= tolerance * std::sqrt(square(p)) * std::sqrt(square(q))) continue;
        done = false;
        const T zeta = (square(p) - square(q)) / (2 * product);
        const T t = std::copysign(1 / (std::fabs(zeta) + std::hypot(T{1}, zeta)), zeta);
        const T c = 1 / std::hypot(T{1}, t);
        rotate(c, c * t, row(x, p), row(x, q), n);
        rotate(c, c * t, row(j, p), row(j, q), k);
        square(p) = dot(row(x, p), row(x, p), n);
        square(q) = dot(row(x, q), row(x, q), n);
      }
    }
  }
  return j;
}

/// The decomposition of a matrix (m, n), m >= n. Pivoted QR first: its R has rows of falling
/// length, nearly orthogonal, on which Jacobi rotations converge fast and to small singular values
/// of the same relative precision as to large ones (Drmač and Veselić 2008, "New fast and accurate
/// Jacobi SVD algorithm").
template <class T>
SVD<T> jacobi_svd(Tensor<T> a) {
  const index_t m = a.dim(0), n = a.dim(1);
  const Householder<T> qr(std::move(a), n, true);
  Tensor<T> x = qr.r();
  const Tensor<T> j = orthogonalize_rows(x);  // A P = Q R = Q Jᵀ x

  std::vector<T> sigma(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i) {
    const T length = norm(x.data() + i * n, n);
    sigma[static_cast<std::size_t>(i)] = length * length < kTinySquare ? T{0} : length;
  }
  std::vector<std::size_t> order(sigma.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t l) { return sigma[i] > sigma[l]; });

  SVD<T> svd{Tensor<T>({m, n}), Tensor<T>({n}), Tensor<T>({n, n})};
  index_t rank = 0;
  for (index_t c = 0; c < n; ++c) {
    const std::size_t i = order[static_cast<std::size_t>(c)];
    svd.s[c] = sigma[i];
    if (sigma[i] > 0) ++rank;
    for (index_t l = 0; l < n; ++l) {
      svd.u(l, c) = j(static_cast<index_t>(i), l);
      if (sigma[i] == 0) continue;
      svd.v(qr.columns()[static_cast<std::size_t>(l)], c) =
          x(static_cast<index_t>(i), l) / sigma[i];
    }
  }
  qr.apply_q(svd.u);
  if (rank < n) {
    // A zero singular value leaves its column of V open: any that completes the basis.
    const Tensor<T> rest = Householder<T>(svd.v, rank, false).q(rank, n);
    for (index_t i = 0; i < n; ++i) {
      for (index_t c = rank; c < n; ++c) svd.v(i, c) = rest(i, c - rank);
    }
  }
  return svd;
}

/// As jacobi_svd, for m < n too, with the signs that SVD promises.
template <class T>
SVD<T> full_svd(Tensor<T> a) {
  SVD<T> svd;
  if (a.dim(0) >= a.dim(1)) {
    svd = jacobi_svd(std::move(a));
  } else {
    svd = jacobi_svd(transpose(a));
    std::swap(svd.u, svd.v);
  }
  fix_signs(svd);
  return svd;
}

}  // namespace detail

/// The thin decomposition of a matrix (m, n), k = min(m, n), by one-sided Jacobi rotations in
/// double. For matrices of up to a few hundred rows or columns; of large ones, truncated_svd finds
/// the largest triplets much faster. Throws ShapeError, DeviceError or ValueError unless `a` is a
/// finite matrix on the CPU.
template <class T>
SVD<T> svd(const Tensor<T>& a) {
  detail::Scaled scaled = detail::load("svd", "a", a);
  return detail::store<T>(detail::full_svd(std::move(scaled.x)), scaled.exponent);
}

/// The decomposition of the product B A of (m, r) and (r, n), k = min(m, r, n), without forming it:
/// B = Q R and Aᵀ = P S by thin QR, then R Sᵀ, at most (r, r), by svd. For an adapter whose update
/// is to be looked at or cut to a lower rank. Throws as svd does, and ShapeError unless the inner
/// sizes are equal.
template <class T>
SVD<T> low_rank_svd(const Tensor<T>& b, const Tensor<T>& a) {
  const detail::Scaled left = detail::load("low_rank_svd", "b", b);
  const detail::Scaled right = detail::load("low_rank_svd", "a", a);
  const index_t m = b.dim(0), r = b.dim(1), n = a.dim(1);
  if (a.dim(0) != r) {
    throw ShapeError("low_rank_svd: b is " + describe(b) + ", a is " + describe(a) +
                     ": size 1 of b must equal size 0 of a");
  }
  const index_t rows = std::min(m, r), cols = std::min(n, r);
  const detail::Householder<double> q(left.x, rows, false);
  const detail::Householder<double> p(detail::transpose(right.x), cols, false);
  const Tensor<double> upper = q.r(), lower = p.r();
  SVD<double> svd = detail::full_svd(detail::multiply(
      cpu::as_is<double>(upper.matrix()), cpu::transposed<double>(lower.matrix()), rows, r, cols));
  const auto widen = [](const detail::Householder<double>& by, const Tensor<double>& x,
                        index_t to) {
    Tensor<double> result({to, x.dim(1)});
    std::copy_n(x.data(), x.numel(), result.data());
    by.apply_q(result);
    return result;
  };
  svd.u = widen(q, svd.u, m);
  svd.v = widen(p, svd.v, n);
  detail::fix_signs(svd);
  return detail::store<T>(svd, left.exponent + right.exponent);
}

}  // namespace lora::inline v0::linalg
