// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/vec.cuh"

// 8 bytes an element, a block for a row at a time.

namespace lora::inline v0::cuda {

template <int kWidth>
__global__ void copy_columns_kernel(MatrixView<const float> x, MatrixView<float> y) {
  for (std::int64_t row = blockIdx.x; row < x.rows; row += gridDim.x) {
    const float* const from = x.data + row * x.stride;
    float* const to = y.data + row * y.stride;
    for_each_pack_of_block<kWidth>(
        x.cols, [&]<int N>(Width<N>, std::int64_t i) { store(to + i, load<N>(from + i)); });
  }
}

}  // namespace lora::inline v0::cuda
