// SPDX-License-Identifier: MIT
#pragma once

#include "device/compat.cuh"

namespace lora_emu_test {

void scale(const float* x, float* y, int n, float factor);
void reverse_in_block(const int* x, int* y);
void votes(const int* x, int* y);
void shuffles(int* y);
void ballots(unsigned* y);
void sum_rows(const float* x, float* y, int columns);
void sgemm(const float* a, const float* b, float* c, int m, int n, int k);
void dynamic_memory(float* y, int count);
void pass_on(std::uint32_t* flags, int* y);
void count_with_atomics(int* counters);
void barriers_only(int rounds);

inline constexpr int kSgemmTile = 64;
inline constexpr int kSgemmThreads = 256;

}  // namespace lora_emu_test
