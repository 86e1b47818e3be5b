// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/elementwise.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::ops {

/// y = value, everywhere.
template <class T>
void fill(Tensor<T>& y, double value) {
  detail::dispatch<T>("fill", y.device(), cpu::fill<T>, &detail::Backend::fill, y.vector(), value);
}

/// y *= factor
template <class T>
void scale(Tensor<T>& y, double factor) {
  detail::dispatch<T>("scale", y.device(), cpu::scale<T>, &detail::Backend::scale, y.vector(),
                      factor);
}

/// y += factor x, BLAS's axpy. The shapes must be equal.
template <class T>
void add_scaled(const Tensor<T>& x, Tensor<T>& y, double factor) {
  detail::require_same_shape("add_scaled", "x", x, "y", y);
  detail::dispatch<T>("add_scaled", y.device(), cpu::add_scaled<T>, &detail::Backend::add_scaled,
                      x.vector(), y.vector(), factor);
}

/// y += x. The shapes must be equal.
template <class T>
void add(const Tensor<T>& x, Tensor<T>& y) {
  add_scaled(x, y, 1.0);
}

}  // namespace lora::inline v0::ops
