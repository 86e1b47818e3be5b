// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/dot.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

// Σ x_i y_i, and the squared Frobenius norm of a matrix that is given by its factors:
//   ‖dyᵀ x‖² = Σ_ij (dy dyᵀ)_ij (x xᵀ)_ij            dy: (B, O), x: (B, I)
// All sums are in double, in an order that depends on the shapes alone. What many tensors give can
// stay on the device, in `results`, until all of it is fetched at once.
//
// Errors: ShapeError and DeviceError.

namespace lora::inline v0::ops {

/// results[i] = Σ x_k y_k. The shapes of x and y must be equal.
template <class T>
void dot(const Tensor<T>& x, const Tensor<T>& y, Tensor<double>& results, index_t i) {
  detail::require_same_shape("dot", "x", x, "y", y);
  detail::require_same_device("dot", "results", results, "x", x);
  detail::dispatch<T>("dot", x.device(), cpu::dot<T>, &detail::Backend::dot, x.vector(), y.vector(),
                      results.data() + i);
}

/// Σ x_k y_k. The shapes must be equal.
template <class T>
double dot(const Tensor<T>& x, const Tensor<T>& y) {
  Tensor<double> result({1}, x.device());
  dot(x, y, result, 0);
  return result.to(Device::cpu)[0];
}

/// results[i] = ‖dyᵀ x‖², in B² (O + I) multiply-adds; the product is never formed.
template <class T>
void squared_norm_factored(const Tensor<T>& dy, const Tensor<T>& x, Tensor<double>& results,
                           index_t i) {
  constexpr const char* kOp = "squared_norm_factored";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_same_device(kOp, "results", results, "x", x);
  detail::dispatch<T>(kOp, x.device(), cpu::squared_norm_factored<T>,
                      &detail::Backend::squared_norm_factored, dy.matrix(), x.matrix(),
                      results.data() + i);
}

}  // namespace lora::inline v0::ops
