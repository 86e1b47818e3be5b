// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "device/compat.cuh"

namespace lora_emu_test {

__global__ void scale(const float* x, float* y, int n, float factor);
__global__ void reverse_in_block(const int* x, int* y);
__global__ void votes(const int* x, int* y);
__global__ void shuffles(int* y);
__global__ void ballots(unsigned* y);
__global__ void sum_rows(const float* x, float* y, int columns);
__global__ void sgemm(const float* a, const float* b, float* c, int m, int n, int k);
__global__ void dynamic_memory(float* y, int count);
__global__ void pass_on(std::uint32_t* flags, int* y);
__global__ void count_with_atomics(int* counters);
template <class T>
__global__ void add_to(T* sum);
__global__ void other_atomics(unsigned* counters);
__global__ void write_indices(uint3* y);
__global__ void use_constants(float* y);
cudaError_t set_constants(const float (&values)[4]);
__global__ void wait_politely(unsigned* turn, int* y);
__global__ void barriers_only(int rounds);

inline constexpr int kSgemmTile = 64;
inline constexpr int kSgemmThreads = 256;

}  // namespace lora_emu_test
