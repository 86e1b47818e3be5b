// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include <lora/view.hpp>

// cuBLAS as a choice for large plain products, never the only path: LORA_GEMM=own (the default),
// cublas, or auto, which is the faster of the two as measured, and own until that has been done.
// The library is looked for when it is asked for, so that no program depends on it.

namespace lora::inline v0::cuda {

/// Whether large plain products go to cuBLAS; LORA_GEMM is read once.
bool use_cublas();

/// Why what LORA_GEMM asks for cannot be had; the empty string when it can.
std::string reason_without_gemm();

/// A row-major operand of a product, read as it is or transposed.
struct CublasOperand {
  MatrixView<const float> matrix;
  bool transposed;
};

/// C = A B, or C += A B, over `terms` terms a sum. Returns a code of CUDA's:
/// cudaErrorLaunchFailure where cuBLAS says only that it failed.
int cublas_product(CublasOperand a, CublasOperand b, std::int64_t terms, MatrixView<float> c,
                   bool accumulate, void* stream);

}  // namespace lora::inline v0::cuda
