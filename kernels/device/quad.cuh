// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/tuning_linear.hpp"

// Four rows by 128 columns of a matrix, the share of a warp in the backward pass.

namespace lora::inline v0::cuda {

/// A lane's part: four columns of each row.
struct Quad {
  float4 row[kRowsPerWarp];
};

template <bool kVector>
__device__ __forceinline__ void load_quad(const float* data, std::int64_t stride, int rows,
                                          int columns, int lane, Quad& quad) {
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    quad.row[r] = load_own_columns<kVector>(data + r * stride, lane, r < rows ? columns : 0);
  }
}

template <bool kVector>
__device__ __forceinline__ void store_quad(float* data, std::int64_t stride, int rows, int columns,
                                           int lane, const Quad& quad) {
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    store_columns<kVector>(data + r * stride, lane, r < rows ? columns : 0, quad.row[r]);
  }
}

template <class Step, int kStates>
__device__ __forceinline__ void update_element(const Step& step, float g, Quad (&states)[kStates],
                                               int r, float float4::*component) {
  float element[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i) element[i] = states[i].row[r].*component;
  step.update(g, element);
#pragma unroll
  for (int i = 0; i < kStates; ++i) states[i].row[r].*component = element[i];
}

}  // namespace lora::inline v0::cuda
