// SPDX-License-Identifier: MIT
#pragma once

#include <lora/view.hpp>

#include "kernels/device/update.cuh"
#include "kernels/device/vec.cuh"

// Gradient descent on a dense gradient: 12 bytes a parameter.

namespace lora::inline v0::cuda {

template <int kWidth>
__global__ void sgd_kernel(VectorView<const float> gradient, VectorView<float> value,
                           SgdStep step) {
  for_each_pack<kWidth>(gradient.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> g = load<N>(gradient.data + i);
    Floats<N> pack = load<N>(value.data + i);
#pragma unroll
    for (int k = 0; k < N; ++k) step.update(g.v[k], pack.v[k]);
    store(value.data + i, pack);
  });
}

}  // namespace lora::inline v0::cuda
