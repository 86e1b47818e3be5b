// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <lora/cpu/dot.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg {

/// How large a product B A is.
struct LowRankNorms {
  double a = 0, b = 0;   ///< ‖A‖ and ‖B‖ (Frobenius)
  double frobenius = 0;  ///< ‖B A‖
  double spectral = 0;   ///< the largest singular value of B A
};

}  // namespace lora::inline v0::linalg

namespace lora::inline v0::linalg::detail {

/// X Xᵀ of X (r, n), in double.
template <class T>
Tensor<double> row_gram(const Tensor<T>& x) {
  Tensor<double> gram({x.dim(0), x.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j <= i; ++j) {
      cpu::run_simd<cpu::DotCore>(x.data() + i * x.dim(1), x.data() + j * x.dim(1), x.dim(1),
                                  &gram(i, j));
      gram(j, i) = gram(i, j);
    }
  }
  return gram;
}

inline void multiply_vector(const Tensor<double>& m, const std::vector<double>& x,
                            std::vector<double>& y) {
  for (index_t i = 0; i < m.dim(0); ++i) {
    cpu::run_simd<cpu::DotCore>(m.data() + i * m.dim(1), static_cast<const double*>(x.data()),
                                m.dim(1), &y[static_cast<std::size_t>(i)]);
  }
}

inline double inner(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// The largest eigenvalue of P Q, both symmetric and without negative ones, by the power method:
/// P Q is symmetric in the inner product (x, y) = xᵀ Q y, whose Rayleigh quotient converges twice
/// as fast as the vector.
inline double largest_eigenvalue(const Tensor<double>& p, const Tensor<double>& q) {
  constexpr int kMostSteps = 2000;
  constexpr double kEnough = 1e-12;
  const auto size = static_cast<std::size_t>(p.dim(0));
  std::vector<double> x(size), qx(size), pqx(size);
  // Of no symmetry, so that it is orthogonal to no eigenvector but by chance.
  for (std::size_t i = 0; i < size; ++i) x[i] = 1 + 0.4 * std::sin(static_cast<double>(i + 1));
  double value = 0;
  for (int step = 0; step < kMostSteps; ++step) {
    multiply_vector(q, x, qx);
    const double length = inner(x, qx);
    if (!(length > 0)) return value;
    multiply_vector(p, qx, pqx);
    const double next = inner(qx, pqx) / length;
    const bool is_enough = std::fabs(next - value) <= kEnough * next;
    value = next;
    if (is_enough && step > 2) break;
    const double scale = 1 / std::sqrt(std::max(inner(pqx, pqx), 1e-300));
    for (std::size_t i = 0; i < size; ++i) x[i] = scale * pqx[i];
  }
  return value;
}

}  // namespace lora::inline v0::linalg::detail

namespace lora::inline v0::linalg {

/// The norms of B (m, r), A (r, n) and B A, which is not formed: ‖B A‖² is the trace of
/// (Bᵀ B)(A Aᵀ) and its largest singular value the root of that matrix's largest eigenvalue, which
/// is found to some eight digits. `b_transposed` is Bᵀ. Throws ShapeError, DeviceError or
/// ValueError unless both are finite matrices on the CPU of r rows.
template <class T>
LowRankNorms low_rank_norms(const Tensor<T>& b_transposed, const Tensor<T>& a) {
  const detail::Scaled scaled_b = detail::load("low_rank_norms", "Bᵀ", b_transposed);
  const detail::Scaled scaled_a = detail::load("low_rank_norms", "A", a);
  if (a.dim(0) != b_transposed.dim(0)) {
    throw ShapeError("low_rank_norms: Bᵀ " + b_transposed.shape().to_string() + " and A " +
                     a.shape().to_string() + " have different numbers of rows");
  }
  const Tensor<double> p = detail::row_gram(scaled_b.x), q = detail::row_gram(scaled_a.x);
  double trace_p = 0, trace_q = 0, trace = 0;
  for (index_t i = 0; i < p.dim(0); ++i) {
    trace_p += p(i, i);
    trace_q += q(i, i);
    for (index_t j = 0; j < p.dim(0); ++j) trace += p(i, j) * q(i, j);
  }
  const double back_b = std::ldexp(1.0, scaled_b.exponent);
  const double back_a = std::ldexp(1.0, scaled_a.exponent);
  return {back_a * std::sqrt(trace_q), back_b * std::sqrt(trace_p),
          back_a * back_b * std::sqrt(std::max(trace, 0.0)),
          back_a * back_b * std::sqrt(std::max(detail::largest_eigenvalue(p, q), 0.0))};
}

}  // namespace lora::inline v0::linalg
