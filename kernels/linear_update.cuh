// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/runtime.hpp"
#include "kernels/weight_sinks.cuh"

// Updates of matrices that are small or narrow, an element to a thread. The gradient is summed over
// the batch in order, as in linear_backward_kernel, so both give the same bits.

namespace lora::inline v0::cuda {

/// The gradient dyᵀ x of a matrix of `cols` columns, and where it goes.
template <class Sink>
struct FactoredUpdate {
  const float* dy;
  std::int64_t dy_stride;
  const float* x;  // null: one column of ones, which makes this the update of a bias
  std::int64_t x_stride;
  std::int64_t batch, elements, cols;
  Sink sink;
};

inline constexpr int kUpdateThreads = 256;

/// 8 kStates bytes an element and, from L2, 8 B.
template <class Sink>
__global__ void __launch_bounds__(kUpdateThreads) factored_update_kernel(FactoredUpdate<Sink> p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kUpdateThreads + threadIdx.x;
  if (i >= p.elements) return;
  const std::int64_t o = i / p.cols;
  const std::int64_t k = i % p.cols;
  const float* const dy = p.dy + o;
  float gradient = 0;
  if (p.x != nullptr) {
    const float* const x = p.x + k;
#pragma unroll 8
    for (std::int64_t m = 0; m < p.batch; ++m) {
      gradient = __fmaf_rn(dy[m * p.dy_stride], x[m * p.x_stride], gradient);
    }
  } else {
#pragma unroll 8
    for (std::int64_t m = 0; m < p.batch; ++m) {
      gradient = __fadd_rn(gradient, dy[m * p.dy_stride]);
    }
  }
  update_at(p.sink, p.sink.step(), o, k, gradient);
}

template <class Sink>
FactoredUpdate<Sink> factored_update(ConstMatrix dy, ConstMatrix x, const Sink& sink) {
  return {dy.data, dy.stride, x.data, x.stride, dy.rows, dy.cols * x.cols, x.cols, sink};
}

/// The update of a bias by the sum of dy over the batch.
template <class Sink>
FactoredUpdate<Sink> bias_update(ConstMatrix dy, const Sink& sink) {
  return {dy.data, dy.stride, nullptr, 0, dy.rows, dy.cols, 1, sink};
}

template <class Sink>
int launch_update(const FactoredUpdate<Sink>& update, void* stream) {
  const auto blocks =
      static_cast<unsigned>((update.elements + kUpdateThreads - 1) / kUpdateThreads);
  return code_of(
      launch(factored_update_kernel<Sink>, {blocks, kUpdateThreads, 0, as_stream(stream)}, update));
}

}  // namespace lora::inline v0::cuda
