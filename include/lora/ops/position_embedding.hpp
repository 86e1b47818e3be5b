// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/cpu/linear.hpp>
#include <lora/cpu/multi_lora.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/tensor.hpp>

// y = x + P[0 … T)                    x, y: (…, T, D), P: (L, D) with T <= L
// dP[0 … T) = Σ dy over the sizes in front, 0 below
//
// A sequence is one row of T D numbers, and the first T rows of P are its bias. Errors: ShapeError,
// DeviceError, and ValueError where T > L.

namespace lora::inline v0::detail {

/// `x` (…, T, D) as a matrix of sequences.
template <class T, class U>
MatrixView<U> as_sequences(const char* op, const char* x_name, const Tensor<T>& x, U* data,
                           const char* p_name, const Tensor<T>& p) {
  require_same_device(op, x_name, x, p_name, p);
  const int rank = x.shape().rank();
  if (rank < 2 || p.shape().rank() != 2 || x.cols() != p.cols()) {
    throw_mismatch<ShapeError>(op, x_name, x, p_name, p,
                               "expected (…, T, D) and (L, D) with one D");
  }
  const index_t length = x.dim(rank - 2);
  if (length > p.dim(0)) {
    throw ValueError(std::string(op) + ": " + x_name + " is " + describe(x) + ", its " +
                     std::to_string(length) + " positions are more than the " +
                     std::to_string(p.dim(0)) + " of " + p_name);
  }
  const index_t size = length * x.cols();
  return {data, size == 0 ? 0 : x.numel() / size, size, size};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = x + P, resized to fit; not `x` itself.
template <class T>
void position_embedding(const Tensor<T>& x, const Tensor<T>& p, Tensor<T>& y) {
  constexpr const char* kOp = "position_embedding";
  detail::as_sequences(kOp, "x", x, x.data(), "p", p);
  y = x;
  const MatrixView<T> to = detail::as_sequences(kOp, "y", y, y.data(), "p", p);
  const VectorView<const T> bias{p.data(), to.cols};
  detail::dispatch<T>(kOp, y.device(), cpu::multi_lora_add_bias<T>,
                      &detail::Backend::multi_lora_add_bias, bias,
                      VectorView<const std::int32_t>{nullptr, 0}, std::int32_t{0}, to);
}

/// dP = the sum, or dP += the sum. `dp` has its shape already: nothing else tells L.
template <class T>
void position_embedding_backward(const Tensor<T>& dy, Tensor<T>& dp, bool accumulate = false) {
  constexpr const char* kOp = "position_embedding_backward";
  const MatrixView<const T> from = detail::as_sequences(kOp, "dy", dy, dy.data(), "dp", dp);
  if (!accumulate) fill(dp, 0.0);
  detail::dispatch<T>(kOp, dy.device(), cpu::linear_backward_bias<T>,
                      &detail::Backend::linear_backward_bias, from,
                      VectorView<T>{dp.data(), from.cols}, true);
}

}  // namespace lora::inline v0::ops
