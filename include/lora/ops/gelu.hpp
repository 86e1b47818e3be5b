// SPDX-License-Identifier: MIT
#pragma once

#include <lora/activation.hpp>
#include <lora/cpu/gelu.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

// y = x Φ(x), Φ(x) = (1 + erf(x / √2)) / 2                      x, y: any shape
// dx = dy ∘ (Φ(x) + x φ(x)), φ(x) = e^(-x²/2) / √(2π)
//
// GELUApproximation::tanh takes (1 + tanh u) / 2 for Φ(x), u = √(2/π) (x + 0.044715 x³), and the
// gradient of that. As torch.nn.functional.gelu; Hendrycks and Gimpel, "Gaussian Error Linear Units
// (GELUs)", arXiv 1606.08415. Errors: ShapeError and DeviceError.

namespace lora::inline v0::ops {

/// y = x Φ(x). `y` is resized to fit and may be `x` itself.
template <class T>
void gelu(const Tensor<T>& x, Tensor<T>& y,
          GELUApproximation approximation = GELUApproximation::none) {
  y.resize(x.shape(), x.device());
  detail::dispatch<T>("gelu", x.device(), cpu::gelu<T>, &detail::Backend::gelu, x.vector(),
                      y.vector(), approximation);
}

/// dx from the forward's input. `dx` is resized to fit and may be `dy` itself.
template <class T>
void gelu_backward(const Tensor<T>& x, const Tensor<T>& dy, Tensor<T>& dx,
                   GELUApproximation approximation = GELUApproximation::none) {
  detail::require_same_shape("gelu_backward", "x", x, "dy", dy);
  dx.resize(x.shape(), x.device());
  detail::dispatch<T>("gelu_backward", x.device(), cpu::gelu_backward<T>,
                      &detail::Backend::gelu_backward, x.vector(), dy.vector(), dx.vector(),
                      approximation);
}

}  // namespace lora::inline v0::ops
