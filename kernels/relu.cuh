// SPDX-License-Identifier: MIT
#pragma once

#include <lora/view.hpp>

#include "kernels/device/vec.cuh"

// relu moves 8 bytes an element, relu_backward 12. The comparisons keep a NaN a NaN and -0 a -0.

namespace lora::inline v0::cuda {

template <int kWidth>
__global__ void relu_kernel(VectorView<const float> x, VectorView<float> y) {
  for_each_pack<kWidth>(x.size, [&]<int N>(Width<N>, std::int64_t i) {
    Floats<N> pack = load<N>(x.data + i);
    for (float& element : pack.v) element = element < 0.0f ? 0.0f : element;
    store(y.data + i, pack);
  });
}

template <int kWidth>
__global__ void relu_backward_kernel(VectorView<const float> y, VectorView<const float> dy,
                                     VectorView<float> dx) {
  for_each_pack<kWidth>(y.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> output = load<N>(y.data + i);
    Floats<N> pack = load<N>(dy.data + i);
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = output.v[k] <= 0.0f ? 0.0f : pack.v[k];
    store(dx.data + i, pack);
  });
}

}  // namespace lora::inline v0::cuda
