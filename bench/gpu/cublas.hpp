// SPDX-License-Identifier: MIT
#pragma once

#include <lora/lora.hpp>

// The products of a linear layer by cublasSgemm in its default mode, float32 without TF32: what the
// kernels are compared with. Works in the current stream, and can be captured.

namespace lora_bench::cublas {

/// Whether the benchmarks were built with cuBLAS. The rest may be called only then.
bool is_there();

/// y = x Wᵀ
void linear(const lora::Tensor<float>& x, const lora::Tensor<float>& w, lora::Tensor<float>& y);

/// dx = dy W
void linear_backward_input(const lora::Tensor<float>& dy, const lora::Tensor<float>& w,
                           lora::Tensor<float>& dx);

/// dW = dyᵀ x
void linear_backward_weight(const lora::Tensor<float>& dy, const lora::Tensor<float>& x,
                            lora::Tensor<float>& dw);

}  // namespace lora_bench::cublas
