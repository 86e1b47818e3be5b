// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/detail/backend.hpp>

#include "kernels/device/update.cuh"
#include "kernels/launchers.hpp"

// What becomes of a weight's gradient once an element of it is in a register. A sink names the
// kStates matrices that it changes, of which the first is the weight or its gradient, and makes a
// Step, which holds the scalars of this launch: step.update(gradient, states of the element).

namespace lora::inline v0::cuda {

template <int kCount>
struct SinkMatrices {
  static constexpr int kStates = kCount;
  float* data[kCount];
  std::int64_t stride[kCount];

  __device__ __forceinline__ float* row(int state, std::int64_t o) const {
    return data[state] + o * stride[state];
  }
};

/// The sink of a launch that only wants what else it computes.
struct NoSink {
  static constexpr int kStates = 0;
  struct Step {};
  __device__ __forceinline__ Step step() const { return {}; }
};

/// Element (o, k) of the sink's matrices by its gradient, read, updated and written by this thread.
template <class Sink>
__device__ __forceinline__ void update_at(const Sink& sink, const typename Sink::Step& step,
                                          std::int64_t o, std::int64_t k, float gradient) {
  float element[Sink::kStates] = {};
  if (sink.reads()) {
#pragma unroll
    for (int s = 0; s < Sink::kStates; ++s) element[s] = sink.row(s, o)[k];
  }
  step.update(gradient, element);
#pragma unroll
  for (int s = 0; s < Sink::kStates; ++s) sink.row(s, o)[k] = element[s];
}

/// dW = gradient, or dW += gradient. 4 or 8 bytes an element.
struct StoreGradient : SinkMatrices<1> {
  bool accumulate;

  struct Step {
    bool accumulate;
    __device__ __forceinline__ void update(float g, float (&dw)[1]) const {
      dw[0] = accumulate ? __fadd_rn(dw[0], g) : g;
    }
  };
  __device__ __forceinline__ Step step() const { return {accumulate}; }
  __device__ __forceinline__ bool reads() const { return accumulate; }
};

/// 24 bytes an element: W, m and v are read and written, the gradient never is.
struct AdamSink : SinkMatrices<3> {
  AdamSchedule schedule;

  struct Step : AdamStep {
    __device__ __forceinline__ void update(float g, float (&wmv)[3]) const {
      AdamStep::update(g, wmv[0], wmv[1], wmv[2]);
    }
  };
  __device__ __forceinline__ Step step() const { return {AdamStep::of(schedule)}; }
  __device__ __forceinline__ bool reads() const { return true; }
};

/// 8 bytes an element.
struct SgdSink : SinkMatrices<1> {
  float minus_lr, weight_decay;

  struct Step : SgdStep {
    __device__ __forceinline__ void update(float g, float (&w)[1]) const {
      SgdStep::update(g, w[0]);
    }
  };
  __device__ __forceinline__ Step step() const { return {{minus_lr, weight_decay}}; }
  __device__ __forceinline__ bool reads() const { return true; }
};

inline StoreGradient store_sink(Matrix dw, bool accumulate) {
  return {{{dw.data}, {dw.stride}}, accumulate};
}

inline AdamSink adam_sink(const AdamMatrix<float>& p, const AdamSchedule& schedule) {
  return {{{p.value.data, p.m.data, p.v.data}, {p.value.stride, p.m.stride, p.v.stride}}, schedule};
}

/// A vector as a matrix of one column.
inline AdamSink adam_sink(const AdamVector<float>& p, const AdamSchedule& schedule) {
  return {{{p.value.data, p.m.data, p.v.data}, {1, 1, 1}}, schedule};
}

inline SgdSink sgd_sink(Matrix value, double lr, double weight_decay) {
  return {
      {{value.data}, {value.stride}}, static_cast<float>(-lr), static_cast<float>(weight_decay)};
}

}  // namespace lora::inline v0::cuda
