// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <utility>

#include <lora/linalg/svd.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

/// U diag(s) Vᵀ, cut to its first `rank` triplets, as a product B A of two factors of equal weight:
/// B = U √s (m, rank) and A = √s Vᵀ (rank, n). Returned in the order A, B. The decomposition must
/// have as many triplets.
template <class T>
std::pair<Tensor<T>, Tensor<T>> balanced_factors(const SVD<T>& svd, index_t rank) {
  Tensor<T> a({rank, svd.v.dim(0)}), b({svd.u.dim(0), rank});
  for (index_t r = 0; r < rank; ++r) {
    const T root = std::sqrt(svd.s[r]);
    for (index_t k = 0; k < a.dim(1); ++k) a(r, k) = root * svd.v(k, r);
    for (index_t o = 0; o < b.dim(0); ++o) b(o, r) = root * svd.u(o, r);
  }
  return {std::move(a), std::move(b)};
}

}  // namespace lora::inline v0::linalg
