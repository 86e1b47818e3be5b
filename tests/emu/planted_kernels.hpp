// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "device/compat.cuh"

// Kernels with a mistake each. The comments on the lines at fault are what the tests look for.

namespace lora_emu_test {

__global__ void missing_barrier(const int* x, int* y);
__global__ void race_in_shared_memory(int* y);
__global__ void race_between_blocks(float* y);
__global__ void write_past_global_memory(float* y, int n);
__global__ void write_past_shared_memory(float* y, int past);
__global__ void forget_the_last(float* y, int n);
__global__ void shuffle_from_outside_the_mask(int* y);
__global__ void shuffle_with_exited_lanes(int* y);
__global__ void shuffle_without_own_lane(int* y);
__global__ void different_warp_operations(int* y);
__global__ void shuffle_for_a_barrier(int* y);
__global__ void barrier_in_one_branch(int* y);
__global__ void barrier_after_an_exit(int* y);
__global__ void exit_before_a_barrier(int* y);
__global__ void two_barriers(int* y);
__global__ void barrier_against_shuffle(int* y);
__global__ void endless_wait(const std::uint32_t* flag);
__global__ void arrive_for_nobody();
__global__ void copy_for_nobody(const float* x);
__global__ void short_named_barrier();
__global__ void read_before_the_wait(const float* x, float* y);
__global__ void read_without_a_barrier(const float* x, float* y);
__global__ void refill_too_early(const float* x, float* y, int tiles);
__global__ void refill_stage_too_early(const float* x, float* y);
__global__ void exit_with_a_copy(const float* x);
__global__ void overwrite_the_source(float* x, float* y);
__global__ void too_few_bytes(const float* x);
__global__ void too_many_bytes(const float* x);
__global__ void reach_a_trap(const int* x);
__global__ void misaligned_load(const float* x, float* y);

}  // namespace lora_emu_test
