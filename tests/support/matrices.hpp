// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/tensors.hpp"

namespace lora_test {

/// x y, in double, by the definition.
template <class T, class U>
Tensor<double> product(const Tensor<T>& x, const Tensor<U>& y) {
  Tensor<double> z({x.dim(0), y.dim(1)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t k = 0; k < x.dim(1); ++k) {
      const double factor = static_cast<double>(x(i, k));
      for (index_t j = 0; j < y.dim(1); ++j) z(i, j) += factor * static_cast<double>(y(k, j));
    }
  }
  return z;
}

template <class T>
Tensor<T> transposed(const Tensor<T>& x) {
  Tensor<T> y({x.dim(1), x.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j < x.dim(1); ++j) y(j, i) = x(i, j);
  }
  return y;
}

/// x diag(s)
template <class T>
Tensor<double> scale_columns(const Tensor<T>& x, const Tensor<T>& s) {
  Tensor<double> y({x.dim(0), s.numel()});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j < s.numel(); ++j) {
      y(i, j) = static_cast<double>(x(i, j)) * static_cast<double>(s[j]);
    }
  }
  return y;
}

/// The square root of the sum of squares of x - y.
template <class T, class U>
double distance(const Tensor<T>& x, const Tensor<U>& y) {
  if (x.shape() != y.shape()) return INFINITY;
  double sum = 0;
  for (index_t i = 0; i < x.numel(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += d * d;
  }
  return std::isnan(sum) ? INFINITY : std::sqrt(sum);
}

/// The largest element of |xᵀ x - I|.
template <class T>
double orthonormality_error(const Tensor<T>& x) {
  const Tensor<double> gram = product(transposed(x), x);
  double worst = 0;
  for (index_t i = 0; i < gram.dim(0); ++i) {
    for (index_t j = 0; j < gram.dim(1); ++j) {
      const double error = std::fabs(gram(i, j) - (i == j ? 1 : 0));
      if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
    }
  }
  return worst;
}

/// k orthonormal columns of m elements, by Gram and Schmidt, twice.
inline Tensor<double> random_orthonormal(index_t m, index_t k, std::uint64_t seed) {
  Tensor<double> rows = random_tensor<double>({k, m}, seed);
  for (index_t i = 0; i < k; ++i) {
    for (int pass = 0; pass < 2; ++pass) {
      for (index_t j = 0; j < i; ++j) {
        double c = 0;
        for (index_t l = 0; l < m; ++l) c += rows(i, l) * rows(j, l);
        for (index_t l = 0; l < m; ++l) rows(i, l) -= c * rows(j, l);
      }
    }
    double square = 0;
    for (index_t l = 0; l < m; ++l) square += rows(i, l) * rows(i, l);
    for (index_t l = 0; l < m; ++l) rows(i, l) /= std::sqrt(square);
  }
  return transposed(rows);
}

/// A matrix (m, n) of those singular values, at most min(m, n), and zeros.
inline Tensor<double> with_spectrum(index_t m, index_t n, const std::vector<double>& sigma,
                                    std::uint64_t seed) {
  const index_t k = static_cast<index_t>(sigma.size());
  const Tensor<double> u = random_orthonormal(m, k, seed);
  const Tensor<double> v = random_orthonormal(n, k, seed + 1);
  return product(scale_columns(u, Tensor<double>({k}, sigma)), transposed(v));
}

/// The largest size of an element.
template <class T>
double largest(const Tensor<T>& x) {
  double result = 0;
  for (const T value : x.span()) result = std::max(result, std::fabs(static_cast<double>(value)));
  return result;
}

}  // namespace lora_test
