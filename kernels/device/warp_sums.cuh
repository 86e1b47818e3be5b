// SPDX-License-Identifier: MIT
#pragma once

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"

namespace lora::inline v0::cuda {

/// Sums kCount values over the lanes of a warp. At each of the five steps a lane gives half of its
/// values away and gets the other lane's share of those it keeps, so the work halves from step to
/// step: about kCount shuffles in all, where one sum after another would take 5 kCount. A lane ends
/// with the sums [first, first + count) in the front of `v`; count may be 0 or less.
template <int kCount, int kLane = kWarpSize / 2, int kSize>
__device__ __forceinline__ void fold_over_lanes(float (&v)[kSize], int lane, int& first,
                                                int& count) {
  static_assert(kCount <= kSize);
  constexpr int kHalf = (kCount + 1) / 2;
  const bool upper = (lane & kLane) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float low = v[i];
    float high = 0;
    if (i + kHalf < kCount) high = v[i + kHalf < kCount ? i + kHalf : i];
    v[i] = (upper ? high : low) + __shfl_xor_sync(kAllLanes, upper ? low : high, kLane);
  }
  if (upper) {
    first += kHalf;
    count -= kHalf;
  } else {
    count = min(count, kHalf);
  }
  if constexpr (kLane > 1) fold_over_lanes<kHalf, kLane / 2>(v, lane, first, count);
}

/// The sums of v's values over the lanes of the warp, to `sums`, which has room for all of them.
template <int kSize>
__device__ __forceinline__ void store_warp_sums(float (&v)[kSize], int lane, float* sums) {
  constexpr int kLeft = (kSize + kWarpSize - 1) / kWarpSize;
  int first = 0;
  int count = kSize;
  fold_over_lanes<kSize>(v, lane, first, count);
#pragma unroll
  for (int i = 0; i < kLeft; ++i) {
    if (i < count) sums[first + i] = v[i];
  }
}

}  // namespace lora::inline v0::cuda
