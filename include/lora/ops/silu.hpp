// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/silu.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/tensor.hpp>

// y = x σ(x), σ(x) = 1 / (1 + e⁻ˣ)               x, y: any shape
// dx = dy ∘ σ(x) (1 + x (1 - σ(x)))
//
// As torch.nn.functional.silu; Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)",
// arXiv 1606.08415, which names it. Errors: ShapeError and DeviceError.

namespace lora::inline v0::ops {

/// y = x σ(x). `y` is resized to fit and may be `x` itself.
template <class T>
void silu(const Tensor<T>& x, Tensor<T>& y) {
  y.resize(x.shape(), x.device());
  detail::dispatch<T>("silu", x.device(), cpu::silu<T>, &detail::Backend::silu, x.vector(),
                      y.vector());
}

/// dx from the forward's input. `dx` is resized to fit and may be `dy` itself.
template <class T>
void silu_backward(const Tensor<T>& x, const Tensor<T>& dy, Tensor<T>& dx) {
  detail::require_same_shape("silu_backward", "x", x, "dy", dy);
  dx.resize(x.shape(), x.device());
  detail::dispatch<T>("silu_backward", x.device(), cpu::silu_backward<T>,
                      &detail::Backend::silu_backward, x.vector(), dy.vector(), dx.vector());
}

}  // namespace lora::inline v0::ops
