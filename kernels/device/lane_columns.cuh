// SPDX-License-Identifier: MIT
#pragma once

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"
#include "kernels/device/ptx.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// How a warp shares the columns of a row-major matrix: 128 at a time, four to a lane. The four are
// neighbours where rows start at 16-byte addresses, so that a lane moves them at once, and 32 apart
// where they do not; either way the warp's accesses are whole lines.

namespace lora::inline v0::cuda {

inline constexpr int kLaneColumns = 4;
inline constexpr int kWarpColumns = kWarpSize * kLaneColumns;

/// Whether the matrix consists of whole 16-byte pieces, each at a multiple of 16.
template <class T>
bool has_vector_rows(const MatrixView<T>& x) {
  return rows_are_aligned(x, 16) && x.cols % kLaneColumns == 0;
}

/// The j-th column of a lane.
template <bool kVector>
__device__ __forceinline__ int lane_column(int lane, int j) {
  return kVector ? kLaneColumns * lane + j : lane + kWarpSize * j;
}

/// Where column c of 128 stands among the lanes' columns, lane by lane.
__device__ __forceinline__ int lane_slot(bool vector, int c) {
  return vector ? c : c % kWarpSize * kLaneColumns + c / kWarpSize;
}

enum class Caching { kNormal, kEvictFirst };

/// The lane's columns of 128 of a row that nobody writes during the kernel, of which `columns`
/// exist; the others are 0.
template <bool kVector, Caching kCaching = Caching::kNormal>
__device__ __forceinline__ float4 load_columns(const float* row, int lane, int columns) {
  float4 v = make_float4(0, 0, 0, 0);
  if constexpr (kVector) {
    const int c = lane_column<true>(lane, 0);
    if (c < columns) {
      const float4* const from = reinterpret_cast<const float4*>(row + c);
      if constexpr (kCaching == Caching::kEvictFirst) {
        v = ptx::load_read_only_evict_first(from);
      } else {
        v = ptx::load_read_only(from);
      }
    }
  } else {
    if (lane < columns) v.x = __ldg(row + lane);
    if (lane + 32 < columns) v.y = __ldg(row + lane + 32);
    if (lane + 64 < columns) v.z = __ldg(row + lane + 64);
    if (lane + 96 < columns) v.w = __ldg(row + lane + 96);
  }
  return v;
}

/// The same of a row that this thread itself changes.
template <bool kVector>
__device__ __forceinline__ float4 load_own_columns(const float* row, int lane, int columns) {
  float4 v = make_float4(0, 0, 0, 0);
  if constexpr (kVector) {
    const int c = lane_column<true>(lane, 0);
    if (c < columns) v = *reinterpret_cast<const float4*>(row + c);
  } else {
    if (lane < columns) v.x = row[lane];
    if (lane + 32 < columns) v.y = row[lane + 32];
    if (lane + 64 < columns) v.z = row[lane + 64];
    if (lane + 96 < columns) v.w = row[lane + 96];
  }
  return v;
}

template <bool kVector>
__device__ __forceinline__ void store_columns(float* row, int lane, int columns, float4 v) {
  if constexpr (kVector) {
    const int c = lane_column<true>(lane, 0);
    if (c < columns) *reinterpret_cast<float4*>(row + c) = v;
  } else {
    if (lane < columns) row[lane] = v.x;
    if (lane + 32 < columns) row[lane + 32] = v.y;
    if (lane + 64 < columns) row[lane + 64] = v.z;
    if (lane + 96 < columns) row[lane + 96] = v.w;
  }
}

/// c += a b, component by component.
__device__ __forceinline__ void multiply_add(float a, float4 b, float4& c) {
  c.x = __fmaf_rn(a, b.x, c.x);
  c.y = __fmaf_rn(a, b.y, c.y);
  c.z = __fmaf_rn(a, b.z, c.z);
  c.w = __fmaf_rn(a, b.w, c.w);
}

/// a · b + c, from the first component to the last.
__device__ __forceinline__ float dot(float4 a, float4 b, float c) {
  c = __fmaf_rn(a.x, b.x, c);
  c = __fmaf_rn(a.y, b.y, c);
  c = __fmaf_rn(a.z, b.z, c);
  return __fmaf_rn(a.w, b.w, c);
}

__device__ __forceinline__ float4 add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

}  // namespace lora::inline v0::cuda
