// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// The words of kBlocks Philox blocks, those of one block side by side. Its loops are what a
/// compiler makes vectors of.
struct PhiloxCore {
  static constexpr int kBlocks = 64;
  static constexpr int kWords = 4 * kBlocks;

  template <int Bytes>
  static LORA_ALWAYS_INLINE void run(const lora::detail::DropoutMask& mask, std::uint64_t offset,
                                     std::uint64_t block, std::uint32_t* words) {
    std::uint32_t c[4][kBlocks];
    for (int i = 0; i < kBlocks; ++i) {
      const std::uint64_t own = block + static_cast<std::uint64_t>(i);
      c[0][i] = static_cast<std::uint32_t>(own);
      c[1][i] = static_cast<std::uint32_t>(own >> 32);
      c[2][i] = static_cast<std::uint32_t>(offset);
      c[3][i] = static_cast<std::uint32_t>(offset >> 32);
    }
    std::uint32_t key0 = mask.key[0], key1 = mask.key[1];
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < kBlocks; ++i) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c[0][i];
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c[2][i];
        c[0][i] = static_cast<std::uint32_t>(p1 >> 32) ^ c[1][i] ^ key0;
        c[1][i] = static_cast<std::uint32_t>(p1);
        c[2][i] = static_cast<std::uint32_t>(p0 >> 32) ^ c[3][i] ^ key1;
        c[3][i] = static_cast<std::uint32_t>(p0);
      }
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    for (int i = 0; i < kBlocks; ++i) {
      for (int j = 0; j < 4; ++j) words[4 * i + j] = c[j][i];
    }
  }
};

/// Calls f(i, whether element i is kept) for all i in [0, size); see ops/dropout.hpp.
template <class F>
void for_each_of_mask(const lora::detail::DropoutMask& mask, std::int64_t size, const F& f) {
  const std::uint64_t offset =
      mask.offset + (mask.step ? static_cast<std::uint64_t>(*mask.step) : 0);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    std::uint32_t memory[PhiloxCore::kWords];
    std::uint32_t* const words = memory;
    for (std::int64_t i = begin; i < end; i += PhiloxCore::kWords) {
      run_simd<PhiloxCore>(mask, offset, static_cast<std::uint64_t>(i / 4), words);
      const std::int64_t count = std::min<std::int64_t>(PhiloxCore::kWords, end - i);
      for (std::int64_t j = 0; j < count; ++j) f(i + j, words[j] >= mask.threshold);
    }
  };
  lora::detail::parallel_for(size, 4 * PhiloxCore::kWords, run);
}

template <class T>
void dropout(VectorView<const T> x, VectorView<T> y, lora::detail::DropoutMask mask) {
  const T scale = static_cast<T>(mask.scale);
  for_each_of_mask(mask, x.size,
                   [&](std::int64_t i, bool kept) { y[i] = kept ? scale * x[i] : T{0}; });
}

template <class T>
void dropout_add(VectorView<const T> x, VectorView<const T> relu_output, VectorView<T> y,
                 lora::detail::DropoutMask mask) {
  const T scale = static_cast<T>(mask.scale);
  for_each_of_mask(mask, x.size, [&](std::int64_t i, bool kept) {
    const T sum = kept ? y[i] + scale * x[i] : y[i];
    y[i] = relu_output.data && relu_output[i] <= T{0} ? T{0} : sum;
  });
}

}  // namespace lora::inline v0::cpu
