// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <lora/linalg/bidiagonal.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/linalg/svd.hpp>
#include <lora/linalg/vectors.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

namespace detail {

/// Golub-Kahan-Lanczos bidiagonalization of A (m, n), m >= n: orthonormal u_j and v_j, kept as
/// rows, with A V = U B and Aᵀ U = V Bᵀ + coupling v_{k+1} e_kᵀ, B upper bidiagonal.
template <class T>
class Lanczos {
 public:
  /// From a random direction.
  Lanczos(const Tensor<T>& a, Generator& generator)
      : a_(a), m_(a.dim(0)), n_(a.dim(1)), generator_(generator) {
    make_random(grow(v_, 0, n_), v_, 0, n_);
  }

  /// From fewer than n singular triplets of A and a random direction orthogonal to them.
  Lanczos(const Tensor<T>& a, const SVD<T>& known, Generator& generator)
      : a_(a), m_(a.dim(0)), n_(a.dim(1)), generator_(generator) {
    const Tensor<T> u = transpose(known.u), v = transpose(known.v);
    u_.assign(u.span().begin(), u.span().end());
    v_.assign(v.span().begin(), v.span().end());
    b_.diagonal.assign(known.s.span().begin(), known.s.span().end());
    b_.above.assign(b_.diagonal.size(), T{0});
    largest_ = known.s[0];
    make_random(grow(v_, steps(), n_), v_, steps(), n_);
  }

  index_t steps() const { return static_cast<index_t>(b_.diagonal.size()); }

  /// Of v_{k+1} with what has been done; 0 when V spans all there is.
  T coupling() const { return steps() == n_ ? T{0} : coupling_; }

  Bidiagonal<T> b() const {
    Bidiagonal<T> b = b_;
    if (!b.diagonal.empty()) b.above.resize(b.diagonal.size() - 1);
    return b;
  }

  void step() {
    const index_t k = steps();
    const MatrixView<const T> a = a_.matrix();
    T* const u = grow(u_, k, m_);
    times<T>(a, v(k), u);
    if (k > 0) add_scaled(-coupling_, u_.data() + (k - 1) * m_, u, m_);
    b_.diagonal.push_back(normalize(u, u_, k, m_));
    b_.above.push_back(0);
    coupling_ = 0;
    if (k + 1 == n_) return;
    T* const next = grow(v_, k + 1, n_);
    times_transposed<T>(a, u, next);
    add_scaled(-b_.diagonal.back(), v(k), next, n_);
    coupling_ = normalize(next, v_, k + 1, n_);
    b_.above.back() = coupling_;
  }

  /// The leading `rank` triplets of B, in terms of A.
  SVD<T> triplets(index_t rank) const {
    const index_t k = steps();
    Tensor<T> p({k, k}), q({k, k});
    for (index_t i = 0; i < k; ++i) p(i, i) = q(i, i) = 1;
    const BidiagonalSVD<T> svd(b(), p, q);
    SVD<T> result{combine(u_, p, rank, m_), Tensor<T>({rank}), combine(v_, q, rank, n_)};
    for (index_t i = 0; i < rank; ++i) result.s[i] = svd.sigma()[static_cast<std::size_t>(i)];
    return result;
  }

 private:
  T* v(index_t k) { return v_.data() + k * n_; }

  static T* grow(std::vector<T>& rows, index_t k, index_t size) {
    rows.resize(std::max(rows.size(), static_cast<std::size_t>((k + 1) * size)));
    return rows.data() + k * size;
  }

  // Makes x orthogonal to the first k rows and returns its length. Once is enough unless that
  // leaves little of x: Daniel, Gragg, Kaufman and Stewart 1976.
  T orthogonalize(T* x, const std::vector<T>& rows, index_t k, index_t size) {
    T length = norm(x, size);
    if (k == 0) return length;
    products_.resize(static_cast<std::size_t>(k));
    sum_.resize(static_cast<std::size_t>(size));
    const MatrixView<const T> basis{rows.data(), k, size, size};
    for (int pass = 0; pass < 4; ++pass) {
      const T before = length;
      times<T>(basis, x, products_.data());
      times_transposed<T>(basis, products_.data(), sum_.data());
      add_scaled(T{-1}, sum_.data(), x, size);
      length = norm(x, size);
      if (length > before * T{0.7}) break;
    }
    return length;
  }

  // The length of what is left of x; where that is nothing but rounding, 0, and x becomes random.
  T normalize(T* x, const std::vector<T>& rows, index_t k, index_t size) {
    const T length = orthogonalize(x, rows, k, size);
    largest_ = std::max(largest_, length);
    if (length <= 10 * std::numeric_limits<T>::epsilon() * largest_) {
      make_random(x, rows, k, size);
      return 0;
    }
    scale(1 / length, x, size);
    return length;
  }

  void make_random(T* x, const std::vector<T>& rows, index_t k, index_t size) {
    generator_.normal(std::span<T>(x, static_cast<std::size_t>(size)), 0.0, 1.0);
    scale(1 / orthogonalize(x, rows, k, size), x, size);
  }

  // The first `rank` rows of weights times the rows, as columns: (size, rank).
  static Tensor<T> combine(const std::vector<T>& rows, const Tensor<T>& weights, index_t rank,
                           index_t size) {
    const index_t k = weights.dim(0);
    const MatrixView<const T> basis{rows.data(), k, size, size};
    Tensor<T> result({rank, size});
    for (index_t i = 0; i < rank; ++i) {
      times_transposed<T>(basis, weights.data() + i * k, result.data() + i * size);
    }
    return transpose(result);
  }

  const Tensor<T>& a_;
  index_t m_, n_;
  std::vector<T> u_, v_;  // k rows of m, k + 1 rows of n
  Bidiagonal<T> b_;       // here with the coupling at the end of `above`
  T coupling_ = 0;
  T largest_ = 0;
  Generator& generator_;
  std::vector<T> products_, sum_;
};

/// The largest singular values of the Krylov space so far, and whether their triplets have
/// residuals |Aᵀu - sigma v| of at most `tolerance` times the largest; |A v - sigma u| is 0.
template <class T>
struct LanczosState {
  std::vector<T> sigma;
  bool converged = true;

  LanczosState(const Lanczos<T>& lanczos, index_t rank, T tolerance) {
    const index_t k = lanczos.steps();
    Tensor<T> last({k, 1}), none({k, 0});
    last[k - 1] = 1;
    sigma = BidiagonalSVD<T>(lanczos.b(), last, none).sigma();
    sigma.resize(static_cast<std::size_t>(rank));
    for (index_t i = 0; i < rank; ++i) {
      if (lanczos.coupling() * std::fabs(last[i]) > tolerance * sigma[0]) converged = false;
    }
  }

  bool equals(const Tensor<T>& other, T tolerance) const {
    for (std::size_t i = 0; i < sigma.size(); ++i) {
      if (std::fabs(sigma[i] - other[static_cast<index_t>(i)]) > tolerance * sigma[0]) return false;
    }
    return true;
  }
};

/// A Krylov space holds one vector for each distinct singular value, so that copies of a multiple
/// one are missed. What has converged is therefore put to the test: an iteration from a random
/// direction orthogonal to it, a quarter as long, must find nothing larger.
template <class T>
SVD<T> lanczos_svd(const Tensor<T>& a, index_t rank, T tolerance) {
  const index_t n = a.dim(1);
  PhiloxGenerator generator(0);
  std::optional<Lanczos<T>> lanczos(std::in_place, a, generator);
  std::optional<SVD<T>> found;
  index_t next_look = rank + 8;
  while (true) {
    while (lanczos->steps() < std::min(n, next_look)) lanczos->step();
    const index_t k = lanczos->steps();
    if (k == n) return lanczos->triplets(rank);
    const LanczosState<T> state(*lanczos, rank, tolerance);
    if (!state.converged) {
      next_look = k + std::max<index_t>(8, k / 8);
      continue;
    }
    if (found && state.equals(found->s, 4 * tolerance)) return std::move(*found);
    found = lanczos->triplets(rank);
    lanczos.emplace(a, *found, generator);
    next_look = rank + std::max<index_t>(8, k / 4);
  }
}

}  // namespace detail

/// The `rank` largest singular triplets of a matrix (m, n), 1 <= rank <= min(m, n): the best
/// approximation of that rank. By Golub-Kahan-Lanczos bidiagonalization in double with full
/// reorthogonalization (Golub and Van Loan, "Matrix Computations", 10.4), as many steps as it
/// takes: a few for a spectrum that falls, hundreds for that of a random matrix. The residuals
/// |A v - s u| and |Aᵀu - s v| are below the precision of T times the largest singular value.
/// Nothing random enters that a caller would see: the same matrix gives the same bits. Throws
/// ShapeError, DeviceError or ValueError unless `a` is a finite matrix on the CPU and `rank` fits.
template <class T>
SVD<T> truncated_svd(const Tensor<T>& a, index_t rank) {
  detail::Scaled scaled = detail::load("truncated_svd", "a", a);
  detail::require_rank("truncated_svd", a.shape(), rank);
  const bool tall = a.dim(0) >= a.dim(1);
  if (!tall) scaled.x = detail::transpose(scaled.x);
  // What rounds away in T need not converge.
  const double tolerance = std::max(8 * std::numeric_limits<double>::epsilon(),
                                    1e-4 * double{std::numeric_limits<T>::epsilon()});
  constexpr index_t kSmall = 64;
  SVD<double> svd = scaled.x.dim(1) <= kSmall
                        ? detail::first_triplets(detail::jacobi_svd(std::move(scaled.x)), rank)
                        : detail::lanczos_svd(scaled.x, rank, tolerance);
  if (!tall) std::swap(svd.u, svd.v);
  detail::fix_signs(svd);
  return detail::store<T>(svd, scaled.exponent);
}

}  // namespace lora::inline v0::linalg
