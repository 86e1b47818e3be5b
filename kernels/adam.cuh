// SPDX-License-Identifier: MIT
#pragma once

#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

#include "kernels/device/update.cuh"
#include "kernels/device/vec.cuh"

// Adam on a dense gradient: 28 bytes a parameter, four read and three written, and nothing else
// that counts. The bits are those of cpu::adam where the CPU has fused multiply-add.

namespace lora::inline v0::cuda {

template <int kWidth>
__global__ void adam_kernel(VectorView<const float> gradient, detail::AdamVector<float> p,
                            detail::AdamSchedule schedule) {
  const AdamStep step = AdamStep::of(schedule);
  for_each_pack<kWidth>(gradient.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> g = load<N>(gradient.data + i);
    Floats<N> value = load<N>(p.value.data + i);
    Floats<N> m = load<N>(p.m.data + i);
    Floats<N> v = load<N>(p.v.data + i);
#pragma unroll
    for (int k = 0; k < N; ++k) step.update(g.v[k], value.v[k], m.v[k], v.v[k]);
    store(p.m.data + i, m);
    store(p.v.data + i, v);
    store(p.value.data + i, value);
  });
}

}  // namespace lora::inline v0::cuda
