// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/relu.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

// y = max(x, 0)            x, y: any shape
// dx = dy where y > 0, else 0

namespace lora::inline v0::ops {

/// y = max(x, 0), a NaN staying a NaN. `y` is resized to fit and may be `x` itself.
template <class T>
void relu(const Tensor<T>& x, Tensor<T>& y) {
  y.resize(x.shape(), x.device());
  detail::dispatch<T>("relu", x.device(), cpu::relu<T>, &detail::Backend::relu, x.vector(),
                      y.vector());
}

/// dx = dy where the forward's output is above 0, else 0; the gradient at 0 is 0, as in PyTorch.
/// `dx` is resized to fit and may be `dy` itself.
template <class T>
void relu_backward(const Tensor<T>& y, const Tensor<T>& dy, Tensor<T>& dx) {
  detail::require_same_shape("relu_backward", "y", y, "dy", dy);
  dx.resize(y.shape(), y.device());
  detail::dispatch<T>("relu_backward", y.device(), cpu::relu_backward<T>,
                      &detail::Backend::relu_backward, y.vector(), dy.vector(), dx.vector());
}

}  // namespace lora::inline v0::ops
