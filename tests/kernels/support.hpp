// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <initializer_list>
#include <utility>

#include <lora/cuda.hpp>
#include <lora/lora.hpp>

#include "support/tensors.hpp"

namespace lora_test {

using lora::Device;

/// The CPU's ops keep to the calling thread: the tests themselves are not compiled for
/// ThreadSanitizer, which would see the pool's accesses to memory but not how they are ordered.
inline const bool kOneThread = (lora::set_num_threads(1), true);

template <class T>
Tensor<T> on_gpu(const Tensor<T>& x) {
  return x.to(Device::cuda);
}

template <class T>
Tensor<T> on_cpu(const Tensor<T>& x) {
  return x.to(Device::cpu);
}

/// Sizes on both sides of a pack of 4, a warp, a block and a grid, and those of the study.
inline constexpr std::initializer_list<index_t> kSizes = {
    0, 1, 3, 4, 5, 10, 31, 33, 255, 784, 999, 1000, 1001, 1300, 1500, 1501, 40003};

/// (rows, columns) on both sides of a warp, of a block, and of a warp's and a block's row.
inline constexpr std::initializer_list<std::pair<index_t, index_t>> kShapes = {
    {0, 3},  {1, 1},   {1, 10},   {10, 10},  {9, 11},   {10, 784}, {3, 1000},
    {33, 7}, {70, 31}, {5, 1023}, {2, 1025}, {3, 1300}, {2, 1501}, {1, 9001}};

/// Whether the CPU's vector cores multiply and add with one rounding, as the kernels do.
inline bool cpu_has_fma() { return lora::cpu::isa() != lora::cpu::Isa::baseline; }

}  // namespace lora_test
