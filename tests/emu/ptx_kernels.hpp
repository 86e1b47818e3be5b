// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "device/compat.cuh"

namespace lora_emu_test {

__global__ void loads_and_stores(const float* x, float* y);
__global__ void copy_ragged(const float* x, float* y, int n);
__global__ void sum_of_tiles(const float* x, float* y, int tiles);
__global__ void hand_over(const float* x, float* y, int rounds);
__global__ void bulk_pipeline(const float* x, float* y, int tiles);
__global__ void arrive_in_turn(int* y, int rounds);
__global__ void multiply_tf32(const float* a, const float* b, const float* c, float* d);
__global__ void multiply_bf16(const std::uint16_t* a, const std::uint16_t* b, float* d);
__global__ void load_matrices(const std::uint16_t* x, std::uint16_t* y);
__global__ void last_block_sums(const float* x, float* partials, unsigned* counter, float* y);
__global__ void grid_barriers(std::uint32_t* counter, int* y, int rounds);

inline constexpr int kTileFloats = 256;

}  // namespace lora_emu_test
