// SPDX-License-Identifier: MIT
#pragma once

#include <lora/view.hpp>

#include "kernels/device/vec.cuh"

// fill writes 4 bytes an element, scale moves 8, add_scaled 12: bound by memory alone, so packs of
// four and a grid that strides. Multiplication and addition are rounded one after the other, as the
// CPU does.

namespace lora::inline v0::cuda {

template <int kWidth>
__global__ void fill_kernel(VectorView<float> y, float value) {
  for_each_pack<kWidth>(y.size, [&]<int N>(Width<N>, std::int64_t i) {
    Floats<N> pack;
    for (float& element : pack.v) element = value;
    store(y.data + i, pack);
  });
}

template <int kWidth>
__global__ void scale_kernel(VectorView<float> y, float factor) {
  for_each_pack<kWidth>(y.size, [&]<int N>(Width<N>, std::int64_t i) {
    Floats<N> pack = load<N>(y.data + i);
    for (float& element : pack.v) element = __fmul_rn(element, factor);
    store(y.data + i, pack);
  });
}

template <int kWidth>
__global__ void add_scaled_kernel(VectorView<const float> x, VectorView<float> y, float factor) {
  for_each_pack<kWidth>(y.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> from = load<N>(x.data + i);
    Floats<N> pack = load<N>(y.data + i);
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = __fadd_rn(pack.v[k], __fmul_rn(factor, from.v[k]));
    store(y.data + i, pack);
  });
}

}  // namespace lora::inline v0::cuda
