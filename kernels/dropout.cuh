// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

#include "kernels/device/philox.cuh"
#include "kernels/device/vec.cuh"

// dropout moves 8 bytes an element, dropout_add 12 or 16; a pack of four is a block of Philox, some
// 50 integer operations. Multiplication and addition are rounded one after the other, as on the
// CPU. Which element takes which word: lora/ops/dropout.hpp.

namespace lora::inline v0::cuda {

/// The mask, with the offset that is due.
class MaskReader {
 public:
  __device__ __forceinline__ explicit MaskReader(const detail::DropoutMask& mask)
      : key_(make_uint2(mask.key[0], mask.key[1])),
        threshold_(mask.threshold),
        offset_(mask.offset + (mask.step ? static_cast<std::uint64_t>(*mask.step) : 0)) {}

  /// Whether the elements [i, i + N) are kept; i is a multiple of N.
  template <int N>
  __device__ __forceinline__ void read(std::int64_t i, bool (&kept)[N]) const {
    const auto block = static_cast<std::uint64_t>(i / 4);
    const uint4 words =
        philox4x32_10(make_uint4(low(block), high(block), low(offset_), high(offset_)), key_);
    if constexpr (N == 4) {
      kept[0] = words.x >= threshold_;
      kept[1] = words.y >= threshold_;
      kept[2] = words.z >= threshold_;
      kept[3] = words.w >= threshold_;
    } else {
      static_assert(N == 1);
      const unsigned lower = i % 2 ? words.y : words.x;
      const unsigned upper = i % 2 ? words.w : words.z;
      kept[0] = (i % 4 < 2 ? lower : upper) >= threshold_;
    }
  }

 private:
  static __device__ __forceinline__ unsigned low(std::uint64_t x) {
    return static_cast<unsigned>(x);
  }
  static __device__ __forceinline__ unsigned high(std::uint64_t x) {
    return static_cast<unsigned>(x >> 32);
  }

  uint2 key_;
  std::uint32_t threshold_;
  std::uint64_t offset_;
};

template <int kWidth>
__global__ void dropout_kernel(VectorView<const float> x, VectorView<float> y,
                               detail::DropoutMask mask) {
  const MaskReader reader(mask);
  const float scale = static_cast<float>(mask.scale);
  for_each_pack<kWidth>(x.size, [&]<int N>(Width<N>, std::int64_t i) {
    Floats<N> pack = load<N>(x.data + i);
    bool kept[N];
    reader.read(i, kept);
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = kept[k] ? __fmul_rn(scale, pack.v[k]) : 0.0f;
    store(y.data + i, pack);
  });
}

template <int kWidth>
__global__ void dropout_add_kernel(VectorView<const float> x, VectorView<const float> relu_output,
                                   VectorView<float> y, detail::DropoutMask mask) {
  const MaskReader reader(mask);
  const float scale = static_cast<float>(mask.scale);
  for_each_pack<kWidth>(x.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> from = load<N>(x.data + i);
    Floats<N> pack = load<N>(y.data + i);
    bool kept[N];
    reader.read(i, kept);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (kept[k]) pack.v[k] = __fadd_rn(pack.v[k], __fmul_rn(scale, from.v[k]));
    }
    if (relu_output.data != nullptr) {
      const Floats<N> output = load<N>(relu_output.data + i);
#pragma unroll
      for (int k = 0; k < N; ++k) pack.v[k] = output.v[k] <= 0.0f ? 0.0f : pack.v[k];
    }
    store(y.data + i, pack);
  });
}

}  // namespace lora::inline v0::cuda
