// SPDX-License-Identifier: MIT
#pragma once

#include <cblas.h>

#include <lora/cpu/gemm.hpp>

// Large products of floats (batches of more than 64 rows) by the BLAS that the program is linked
// to, from its first line on; everything else stays as it is. With CMake: LORA_WITH_BLAS=ON and
// the target lora::blas. Whether results depend on the number of threads is then up to the BLAS.

namespace lora::inline v0::detail {

inline void blas_sgemm(const cpu::GemmOperand<float>& a, const cpu::GemmOperand<float>& b,
                       std::int64_t k_size, const MatrixView<float>& c, bool accumulate) {
  const auto transpose = [](const cpu::GemmOperand<float>& x) {
    return x.col_step == 1 ? CblasNoTrans : CblasTrans;
  };
  const auto stride = [](const cpu::GemmOperand<float>& x) {
    return static_cast<int>(x.col_step == 1 ? x.row_step : x.col_step);
  };
  cblas_sgemm(CblasRowMajor, transpose(a), transpose(b), static_cast<int>(c.rows),
              static_cast<int>(c.cols), static_cast<int>(k_size), 1.0f, a.data, stride(a), b.data,
              stride(b), accumulate ? 1.0f : 0.0f, c.data, static_cast<int>(c.stride));
}

inline const bool blas_is_registered = (external_sgemm = blas_sgemm, true);

}  // namespace lora::inline v0::detail
