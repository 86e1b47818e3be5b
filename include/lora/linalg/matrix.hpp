// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include <lora/cpu/gemm.hpp>
#include <lora/error.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::linalg::detail {

/// 2^exponent x: every element of `x` is at most 1 in size, so that no square overflows and what
/// underflows is too small to count.
struct Scaled {
  Tensor<double> x;
  int exponent = 0;
};

/// Throws ShapeError, DeviceError or ValueError unless `a` is a finite matrix on the CPU.
template <class T>
Scaled load(const char* op, const char* name, const Tensor<T>& a) {
  const std::string what = std::string(op) + ": " + name + " is " + describe(a);
  if (a.shape().rank() != 2) throw ShapeError(what + ", expected a matrix");
  if (a.device() != Device::cpu) throw DeviceError(what + ", expected on cpu");
  Scaled result{Tensor<double>(a.shape())};
  double largest = 0;
  for (index_t i = 0; i < a.numel(); ++i) {
    const double value = static_cast<double>(a[i]);
    if (!std::isfinite(value)) {
      throw ValueError(what + " and holds " + std::to_string(value) + ", expected finite numbers");
    }
    largest = std::max(largest, std::fabs(value));
    result.x[i] = value;
  }
  if (largest == 0) return result;
  std::frexp(largest, &result.exponent);
  for (double& value : result.x.span()) value = std::ldexp(value, -result.exponent);
  return result;
}

/// 2^exponent x, rounded to T.
template <class T>
Tensor<T> store(const Tensor<double>& x, int exponent = 0) {
  Tensor<T> result(x.shape());
  for (index_t i = 0; i < x.numel(); ++i) result[i] = static_cast<T>(std::ldexp(x[i], exponent));
  return result;
}

/// Throws ValueError unless 1 <= rank <= min(m, n).
inline void require_rank(const char* op, const Shape& shape, index_t rank) {
  const index_t most = std::min(shape[0], shape[1]);
  if (rank >= 1 && rank <= most) return;
  throw ValueError(std::string(op) + ": rank " + std::to_string(rank) + " of a matrix " +
                   shape.to_string() + ", expected 1 to " + std::to_string(most));
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x) {
  Tensor<T> result({x.dim(1), x.dim(0)});
  constexpr index_t kTile = 16;
  for (index_t i0 = 0; i0 < x.dim(0); i0 += kTile) {
    for (index_t j = 0; j < x.dim(1); ++j) {
      for (index_t i = i0; i < std::min(i0 + kTile, x.dim(0)); ++i) result(j, i) = x(i, j);
    }
  }
  return result;
}

/// The columns first, first + step, ..., `count` of them.
template <class T>
Tensor<T> columns(const Tensor<T>& x, index_t first, index_t step, index_t count) {
  Tensor<T> result({x.dim(0), count});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j < count; ++j) result(i, j) = x(i, first + j * step);
  }
  return result;
}

/// x y of (m, k) and (k, n), either of them a transposed view.
template <class T>
Tensor<T> multiply(cpu::GemmOperand<T> x, cpu::GemmOperand<T> y, index_t m, index_t k, index_t n) {
  Tensor<T> result({m, n});
  cpu::gemm(x, y, k, result.matrix(), false);
  return result;
}

}  // namespace lora::inline v0::linalg::detail
