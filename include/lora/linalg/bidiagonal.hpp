// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/linalg/vectors.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg::detail {

/// An upper bidiagonal matrix B (k, k): `diagonal` of k elements, `above` of k - 1.
template <class T>
struct Bidiagonal {
  std::vector<T> diagonal, above;
};

/// c and s with c f + s g = r, c g - s f = 0.
template <class T>
struct Givens {
  T c, s, r;

  Givens(T f, T g) : c(1), s(0), r(f) {
    if (g == 0) return;
    r = std::hypot(f, g);
    c = f / r;
    s = g / r;
  }
};

/// The singular value decomposition B = P diag(sigma) Qᵀ by implicitly shifted QR sweeps; sigma
/// falls. Golub and Van Loan, "Matrix Computations", 8.6; zero shifts after Demmel and Kahan 1990.
/// Rows of `p_rows` become Pᵀ times them, those of `q_rows` Qᵀ times them: identities give Pᵀ and
/// Qᵀ, a last column of the identity the last row of P, matrices without columns nothing.
template <class T>
class BidiagonalSVD {
 public:
  BidiagonalSVD(Bidiagonal<T> b, Tensor<T>& p_rows, Tensor<T>& q_rows)
      : d_(std::move(b.diagonal)), e_(std::move(b.above)), p_(p_rows), q_(q_rows) {
    for (const T value : d_) largest_ = std::max(largest_, std::fabs(value));
    for (const T value : e_) largest_ = std::max(largest_, std::fabs(value));
    std::size_t last = d_.size();
    for (std::size_t sweeps = 0; last > 1; ++sweeps) {
      if (sweeps > 100 * d_.size()) throw Error("svd: QR sweeps do not converge");
      for (std::size_t i = 0; i + 1 < last; ++i) {
        if (std::fabs(e_[i]) <= kEpsilon * (std::fabs(d_[i]) + std::fabs(d_[i + 1]))) e_[i] = 0;
      }
      if (is_small(e_[last - 2])) {
        --last;
        continue;
      }
      std::size_t first = last - 2;
      while (first > 0 && !is_small(e_[first - 1])) --first;
      sweep(first, last);
    }
    sort();
  }

  const std::vector<T>& sigma() const { return d_; }

 private:
  static constexpr T kEpsilon = std::numeric_limits<T>::epsilon() / 2;

  bool is_small(T value) const { return std::fabs(value) <= kEpsilon * largest_ / 16; }

  // The smaller singular value of the last two rows, or 0 where the block is near to singular: then
  // a sweep without a shift splits it.
  T shift(std::size_t first, std::size_t last) {
    T smallest = largest_;
    for (std::size_t i = first; i < last; ++i) {
      if (is_small(d_[i])) d_[i] = 0;
      smallest = std::min(smallest, std::fabs(d_[i]));
    }
    if (smallest == 0) return 0;
    const T f = std::fabs(d_[last - 2]), g = std::fabs(e_[last - 2]), h = std::fabs(d_[last - 1]);
    // The product of the two is f h; the sums of squares give the larger.
    const T larger = (std::hypot(f + h, g) + std::hypot(f - h, g)) / 2;
    const T s = f * (h / larger);
    const T ratio = s / d_[first];
    return ratio * ratio < kEpsilon ? T{0} : s;
  }

  void sweep(std::size_t first, std::size_t last) {
    const T s = shift(first, last);
    T f = d_[first];
    T g = e_[first];
    if (s != 0) f = (std::fabs(f) - s) * (std::copysign(T{1}, f) + s / f);
    for (std::size_t i = first; i + 1 < last; ++i) {
      const Givens<T> right(f, g);
      if (i > first) e_[i - 1] = right.r;
      f = right.c * d_[i] + right.s * e_[i];
      e_[i] = right.c * e_[i] - right.s * d_[i];
      g = right.s * d_[i + 1];
      d_[i + 1] *= right.c;
      rotate_rows(q_, i, right);
      const Givens<T> left(f, g);
      d_[i] = left.r;
      f = left.c * e_[i] + left.s * d_[i + 1];
      d_[i + 1] = left.c * d_[i + 1] - left.s * e_[i];
      if (i + 2 < last) {
        g = left.s * e_[i + 1];
        e_[i + 1] *= left.c;
      }
      rotate_rows(p_, i, left);
    }
    e_[last - 2] = f;
  }

  static void rotate_rows(Tensor<T>& x, std::size_t i, const Givens<T>& by) {
    const index_t size = x.dim(1);
    T* const row = x.data() + static_cast<index_t>(i) * size;
    if (size == 1) {
      const T a = row[0];
      row[0] = by.c * a + by.s * row[1];
      row[1] = by.c * row[1] - by.s * a;
    } else if (size > 1) {
      rotate(by.c, by.s, row, row + size, size);
    }
  }

  void sort() {
    std::vector<std::size_t> order(d_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
      return std::fabs(d_[i]) > std::fabs(d_[j]);
    });
    const std::vector<T> sigma = d_;
    const Tensor<T> p = p_, q = q_;
    for (std::size_t i = 0; i < order.size(); ++i) {
      d_[i] = std::fabs(sigma[order[i]]);
      copy_row(p, order[i], p_, i, T{1});
      copy_row(q, order[i], q_, i, std::copysign(T{1}, sigma[order[i]]));
    }
  }

  static void copy_row(const Tensor<T>& from, std::size_t i, Tensor<T>& to, std::size_t j, T sign) {
    for (index_t c = 0; c < to.dim(1); ++c) {
      to(static_cast<index_t>(j), c) = sign * from(static_cast<index_t>(i), c);
    }
  }

  std::vector<T> d_, e_;
  Tensor<T>& p_;
  Tensor<T>& q_;
  T largest_ = 0;
};

}  // namespace lora::inline v0::linalg::detail
