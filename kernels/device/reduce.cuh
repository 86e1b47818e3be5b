// SPDX-License-Identifier: MIT
#pragma once

#include "kernels/device/compat.cuh"

// Reductions over a warp and over a block, always in the same order, so that the same launch gives
// the same bits. The block is one-dimensional and made of whole warps, and all of its threads come.

namespace lora::inline v0::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr int kMaxWarps = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_of_thread() {
  return static_cast<int>(threadIdx.x) % kWarpSize;
}
__device__ __forceinline__ int warp_of_thread() {
  return static_cast<int>(threadIdx.x) / kWarpSize;
}
__device__ __forceinline__ int warps_of_block() { return static_cast<int>(blockDim.x) / kWarpSize; }

/// The value of lane (own ^ mask). A type that is no number has an overload of its own.
template <class T>
__device__ __forceinline__ T shuffle_xor(const T& value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(const T& a, const T& b) const {
    return a + b;
  }
};

/// op over the values of all lanes, in every lane. Where op(a, b) and op(b, a) differ, lanes
/// differ.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, const Op& op) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value = op(value, shuffle_xor(value, mask));
  return value;
}

/// op over the values of all threads, in every thread. `identity` changes nothing: op(a, identity)
/// is a.
template <class T, class Op>
__device__ __forceinline__ T block_reduce(T value, const Op& op, const T& identity) {
  LORA_SHARED_MEMORY(T, of_warp, kMaxWarps);
  value = warp_reduce(value, op);
  if (lane_of_thread() == 0) of_warp[warp_of_thread()] = value;
  __syncthreads();
  value = lane_of_thread() < warps_of_block() ? of_warp[lane_of_thread()] : identity;
  value = warp_reduce(value, op);
  // The memory may be used again.
  __syncthreads();
  return value;
}

/// Whether this block is the last of `blocks` to come here, so that it sees, through __ldcg, what
/// all of them wrote before. `arrivals` is 0 before the launch and after it. The one thread that
/// counts also fences, on both sides: the barriers pass that on to the others, while fences of their
/// own would order nothing, as they neither write nor read the counter.
__device__ __forceinline__ bool is_last_block(unsigned* arrivals, unsigned blocks) {
  LORA_SHARED_MEMORY(bool, is_last, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last[0] = atomicInc(arrivals, blocks - 1) == blocks - 1;
    __threadfence();
  }
  __syncthreads();
  return is_last[0];
}

/// The threads that share one row: a warp. After reduce, as after a barrier, the team's threads see
/// what each of them wrote before it, and none still reads what another writes from then on.
struct WarpTeam {
  static __device__ __forceinline__ int rank() { return lane_of_thread(); }
  static __device__ __forceinline__ int size() { return kWarpSize; }
  static __device__ __forceinline__ long long first_row() {
    return static_cast<long long>(blockIdx.x) * warps_of_block() + warp_of_thread();
  }
  static __device__ __forceinline__ long long teams() {
    return static_cast<long long>(gridDim.x) * warps_of_block();
  }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(const T& value, const Op& op, const T&) {
    __syncwarp();
    return warp_reduce(value, op);
  }
};

/// The threads that share one row: the block, in the same way.
struct BlockTeam {
  static __device__ __forceinline__ int rank() { return static_cast<int>(threadIdx.x); }
  static __device__ __forceinline__ int size() { return static_cast<int>(blockDim.x); }
  static __device__ __forceinline__ long long first_row() { return blockIdx.x; }
  static __device__ __forceinline__ long long teams() { return gridDim.x; }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(const T& value, const Op& op, const T& identity) {
    return block_reduce(value, op, identity);
  }
};

}  // namespace lora::inline v0::cuda
