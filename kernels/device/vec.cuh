// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/device/compat.cuh"

// Neighbouring elements as one load or store of 16 bytes, and the loops over memory in such steps.

namespace lora::inline v0::cuda {

/// N neighbours, N = 1 or 4. The loops over them are unrolled, so they stay in registers.
template <int N>
struct Floats {
  float v[N];
};

template <int N>
using Width = std::integral_constant<int, N>;

/// The widest pack. Pointers to it are aligned to 16 bytes.
inline constexpr int kWidest = 4;

template <int N>
__device__ __forceinline__ Floats<N> load(const float* from) {
  if constexpr (N == 1) {
    return {{*from}};
  } else {
    static_assert(N == 4);
    const float4 x = *reinterpret_cast<const float4*>(from);
    return {{x.x, x.y, x.z, x.w}};
  }
}

template <int N>
__device__ __forceinline__ void store(float* to, const Floats<N>& x) {
  if constexpr (N == 1) {
    *to = x.v[0];
  } else {
    static_assert(N == 4);
    *reinterpret_cast<float4*>(to) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  }
}

/// For data that nobody reads again soon: it leaves the caches first.
template <int N>
__device__ __forceinline__ Floats<N> load_streaming(const float* from) {
  if constexpr (N == 1) {
    return {{__ldcs(from)}};
  } else {
    static_assert(N == 4);
    const float4 x = __ldcs(reinterpret_cast<const float4*>(from));
    return {{x.x, x.y, x.z, x.w}};
  }
}

template <int N>
__device__ __forceinline__ void store_streaming(float* to, const Floats<N>& x) {
  if constexpr (N == 1) {
    __stcs(to, x.v[0]);
  } else {
    static_assert(N == 4);
    __stcs(reinterpret_cast<float4*>(to), make_float4(x.v[0], x.v[1], x.v[2], x.v[3]));
  }
}

/// Shares `size` elements among the threads of the grid: f(Width<kWidth>{}, i) for every whole pack
/// that begins at element i, f(Width<1>{}, i) for each of the fewer than kWidth elements behind.
template <int kWidth, class F>
__device__ __forceinline__ void for_each_pack(std::int64_t size, const F& f) {
  const std::int64_t threads = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t thread = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t packs = size / kWidth;
  for (std::int64_t i = thread; i < packs; i += threads) f(Width<kWidth>{}, i * kWidth);
  if constexpr (kWidth > 1) {
    const std::int64_t i = packs * kWidth + thread;
    if (i < size) f(Width<1>{}, i);
  }
}

/// The same, with the elements shared among the threads of the block.
template <int kWidth, class F>
__device__ __forceinline__ void for_each_pack_of_block(std::int64_t size, const F& f) {
  const std::int64_t packs = size / kWidth;
  for (std::int64_t i = threadIdx.x; i < packs; i += blockDim.x) f(Width<kWidth>{}, i * kWidth);
  if constexpr (kWidth > 1) {
    const std::int64_t i = packs * kWidth + threadIdx.x;
    if (i < size) f(Width<1>{}, i);
  }
}

/// Whether all of these addresses are multiples of 16. Null is.
template <class... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Whether every row of the matrix begins at a multiple of `bytes`.
template <class View>
bool rows_are_aligned(const View& x, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(x.data) % bytes == 0 &&
         static_cast<std::size_t>(x.stride) * sizeof(*x.data) % bytes == 0;
}

}  // namespace lora::inline v0::cuda
