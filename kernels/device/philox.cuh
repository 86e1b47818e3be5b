// SPDX-License-Identifier: MIT
#pragma once

#include "kernels/device/compat.cuh"

namespace lora::inline v0::cuda {

/// The four words that lora::philox4x32_10 (lora/random.hpp) makes of the same counter and key.
__device__ __forceinline__ uint4 philox4x32_10(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    constexpr unsigned kFactor0 = 0xD2511F53;
    constexpr unsigned kFactor1 = 0xCD9E8D57;
    counter = make_uint4(__umulhi(kFactor1, counter.z) ^ counter.y ^ key.x, kFactor1 * counter.z,
                         __umulhi(kFactor0, counter.x) ^ counter.w ^ key.y, kFactor0 * counter.x);
    key.x += 0x9E3779B9;
    key.y += 0xBB67AE85;
  }
  return counter;
}

}  // namespace lora::inline v0::cuda
