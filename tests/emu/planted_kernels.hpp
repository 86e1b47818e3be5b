// SPDX-License-Identifier: MIT
#pragma once

#include "device/compat.cuh"

// Kernels with a mistake each. The comments on the lines at fault are what the tests look for.

namespace lora_emu_test {

void missing_barrier(const int* x, int* y);
void race_in_shared_memory(int* y);
void race_between_blocks(float* y);
void write_past_global_memory(float* y, int n);
void write_past_shared_memory(float* y, int past);
void forget_the_last(float* y, int n);
void shuffle_from_outside_the_mask(int* y);
void shuffle_with_exited_lanes(int* y);
void shuffle_without_own_lane(int* y);
void different_warp_operations(int* y);
void shuffle_for_a_barrier(int* y);
void barrier_in_one_branch(int* y);
void barrier_after_an_exit(int* y);
void exit_before_a_barrier(int* y);
void two_barriers(int* y);
void barrier_against_shuffle(int* y);
void endless_wait(const std::uint32_t* flag);
void short_named_barrier();
void read_before_the_wait(const float* x, float* y);
void read_without_a_barrier(const float* x, float* y);
void exit_with_a_copy(const float* x);
void overwrite_the_source(float* x, float* y);
void too_few_bytes(const float* x);
void too_many_bytes(const float* x);
void misaligned_load(const float* x, float* y);

}  // namespace lora_emu_test
