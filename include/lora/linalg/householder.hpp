// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include <lora/linalg/vectors.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg::detail {

/// The square of a length, in a matrix whose largest element is about 1, below which the vector is
/// taken for zero: its square has lost digits.
inline constexpr double kTinySquare = 1e-290;

/// Householder's factorisation A P = H_0 ... H_{k-1} R of a matrix (m, n), of its first k columns,
/// with H_j = I - tau_j v_j v_jᵀ, where v_j is 0 above row j and 1 in it. Golub and Van Loan,
/// "Matrix Computations", 5.2 and 5.4.
template <class T>
class Householder {
 public:
  /// With `pivot`, each step takes the longest of the columns that are left, and the diagonal of R
  /// falls in size; else P = I.
  Householder(Tensor<T> a, index_t k, bool pivot)
      : a_(std::move(a)),
        tau_(static_cast<std::size_t>(k)),
        columns_(static_cast<std::size_t>(a_.dim(1))) {
    std::iota(columns_.begin(), columns_.end(), index_t{0});
    for (index_t j = 0; j < k; ++j) {
      if (pivot) bring_longest_column_to(j);
      tau_[static_cast<std::size_t>(j)] = make_reflector(j);
      reflect(j, {a_.data() + j + 1, a_.dim(0), a_.dim(1) - j - 1, a_.dim(1)});
    }
  }

  /// Column j of A P is column columns()[j] of A.
  const std::vector<index_t>& columns() const { return columns_; }

  /// The first k rows of R: (k, n).
  Tensor<T> r() const {
    const index_t k = reflectors();
    Tensor<T> result({k, a_.dim(1)});
    for (index_t i = 0; i < k; ++i) {
      for (index_t j = i; j < a_.dim(1); ++j) result(i, j) = a_(i, j);
    }
    return result;
  }

  /// The columns [begin, end) of H_0 ... H_{k-1}: (m, end - begin).
  Tensor<T> q(index_t begin, index_t end) const {
    Tensor<T> result({a_.dim(0), end - begin});
    for (index_t j = begin; j < end; ++j) result(j, j - begin) = 1;
    apply_q(result);
    return result;
  }

  /// x = H_0 ... H_{k-1} x for x of m rows.
  void apply_q(Tensor<T>& x) const {
    for (index_t j = reflectors() - 1; j >= 0; --j) reflect(j, x.matrix());
  }

 private:
  index_t reflectors() const { return static_cast<index_t>(tau_.size()); }

  void bring_longest_column_to(index_t j) {
    std::vector<T> squares(columns_.size());
    for (index_t i = j; i < a_.dim(0); ++i) {
      for (std::size_t c = static_cast<std::size_t>(j); c < squares.size(); ++c) {
        const T value = a_(i, static_cast<index_t>(c));
        squares[c] += value * value;
      }
    }
    const auto longest = std::max_element(squares.begin() + j, squares.end()) - squares.begin();
    if (longest == j) return;
    for (index_t i = 0; i < a_.dim(0); ++i) std::swap(a_(i, j), a_(i, longest));
    std::swap(columns_[static_cast<std::size_t>(j)], columns_[static_cast<std::size_t>(longest)]);
  }

  // Leaves R's diagonal and v_j in column j, and returns tau_j. As LAPACK's dlarfg: the diagonal
  // gets the sign that its element did not have, unless there is nothing to eliminate.
  T make_reflector(index_t j) {
    T below = 0;
    for (index_t i = j + 1; i < a_.dim(0); ++i) below += a_(i, j) * a_(i, j);
    const T alpha = a_(j, j);
    if (below == 0 || alpha * alpha + below < kTinySquare) {
      for (index_t i = j + 1; i < a_.dim(0); ++i) a_(i, j) = 0;
      return 0;
    }
    const T beta = -std::copysign(std::sqrt(alpha * alpha + below), alpha);
    for (index_t i = j + 1; i < a_.dim(0); ++i) a_(i, j) /= alpha - beta;
    a_(j, j) = beta;
    return (beta - alpha) / beta;
  }

  // x = H_j x
  void reflect(index_t j, MatrixView<T> x) const {
    const T tau = tau_[static_cast<std::size_t>(j)];
    if (tau == 0 || x.cols == 0) return;
    std::vector<T> w(x.row(j), x.row(j) + x.cols);
    for (index_t i = j + 1; i < x.rows; ++i) add_scaled(a_(i, j), x.row(i), w.data(), x.cols);
    add_scaled(-tau, w.data(), x.row(j), x.cols);
    for (index_t i = j + 1; i < x.rows; ++i) {
      add_scaled(-tau * a_(i, j), w.data(), x.row(i), x.cols);
    }
  }

  Tensor<T> a_;
  std::vector<T> tau_;
  std::vector<index_t> columns_;
};

}  // namespace lora::inline v0::linalg::detail
