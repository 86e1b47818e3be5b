// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/vec.cuh"

// Rows of bytes become rows of normalised floats: 1 byte read and 4 written for a pixel, four
// pixels at a time where rows are aligned. A block works on a row at a time.

namespace lora::inline v0::cuda {

/// Division, subtraction, division, each rounded, as the CPU does and PyTorch's transforms do.
struct Normalization {
  float mean, std;

  __device__ __forceinline__ float operator()(std::uint8_t pixel) const {
    return __fdiv_rn(__fsub_rn(__fdiv_rn(static_cast<float>(pixel), 255.0f), mean), std);
  }
};

/// One row, by all threads of the block. `from` null, for a row that does not exist, gives NaN.
template <int kWidth>
__device__ __forceinline__ void normalize_row(const std::uint8_t* from, float* to,
                                              std::int64_t cols, const Normalization& normalize) {
  const std::int64_t packs = cols / kWidth;
  for (std::int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
    Floats<kWidth> pack;
    for (float& element : pack.v) element = NAN;
    if (from) {
      if constexpr (kWidth == 4) {
        const uchar4 pixels = *reinterpret_cast<const uchar4*>(from + 4 * i);
        pack = {
            {normalize(pixels.x), normalize(pixels.y), normalize(pixels.z), normalize(pixels.w)}};
      } else {
        pack.v[0] = normalize(from[i]);
      }
    }
    store(to + kWidth * i, pack);
  }
  if constexpr (kWidth > 1) {
    const std::int64_t i = packs * kWidth + threadIdx.x;
    if (i < cols) to[i] = from ? normalize(from[i]) : NAN;
  }
}

/// Row `index` of the images, or null where there is none.
__device__ __forceinline__ const std::uint8_t* row_or_null(
    const MatrixView<const std::uint8_t>& images, std::int64_t index) {
  return index >= 0 && index < images.rows ? images.data + index * images.stride : nullptr;
}

template <int kWidth>
__global__ void normalize_rows_kernel(MatrixView<const std::uint8_t> x,
                                      VectorView<const std::int64_t> rows, MatrixView<float> y,
                                      Normalization normalize) {
  for (std::int64_t i = blockIdx.x; i < rows.size; i += gridDim.x) {
    normalize_row<kWidth>(row_or_null(x, rows.data[i]), y.data + i * y.stride, x.cols, normalize);
  }
}

}  // namespace lora::inline v0::cuda
