// SPDX-License-Identifier: MIT
#pragma once

// What makes a function a kernel, who the running thread is, and how a block waits for its threads.
// The functions that threads wait in take the position of their caller, for the reports.

#include <source_location>

#include <lora_emu/vector_types.hpp>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))

inline constexpr int warpSize = 32;

namespace lora_emu {

using Location = std::source_location;

/// What a thread knows of itself. One exists for each CUDA thread alive.
struct ThreadView {
  uint3 thread_index;
  uint3 block_index;
  dim3 block_dim;
  dim3 grid_dim;
};

/// The thread that runs now.
extern ThreadView* current_thread;

enum class Vote { kCount, kAnd, kOr };

void block_barrier(Location where);
int block_barrier_vote(Vote vote, bool predicate, Location where);
void named_barrier_sync(int id, int threads, Location where);
void named_barrier_arrive(int id, int threads, Location where);

/// Lets other threads run. `progressed` says that the caller saw or made a change, so that its
/// waiting is not the standstill that becomes a deadlock report.
void yield(bool progressed, Location where);

void thread_fence();

/// Ends the launch with a report.
[[noreturn]] void trap(Location where);

}  // namespace lora_emu

#define threadIdx (::lora_emu::current_thread->thread_index)
#define blockIdx (::lora_emu::current_thread->block_index)
#define blockDim (::lora_emu::current_thread->block_dim)
#define gridDim (::lora_emu::current_thread->grid_dim)

__forceinline__ void __syncthreads(lora_emu::Location where = lora_emu::Location::current()) {
  lora_emu::block_barrier(where);
}
__forceinline__ int __syncthreads_count(int predicate,
                                        lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::block_barrier_vote(lora_emu::Vote::kCount, predicate != 0, where);
}
__forceinline__ int __syncthreads_and(int predicate,
                                      lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::block_barrier_vote(lora_emu::Vote::kAnd, predicate != 0, where);
}
__forceinline__ int __syncthreads_or(int predicate,
                                     lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::block_barrier_vote(lora_emu::Vote::kOr, predicate != 0, where);
}

__forceinline__ void __threadfence() { lora_emu::thread_fence(); }
__forceinline__ void __threadfence_block() { lora_emu::thread_fence(); }
__forceinline__ void __threadfence_system() { lora_emu::thread_fence(); }
__forceinline__ void __nanosleep(unsigned,
                                 lora_emu::Location where = lora_emu::Location::current()) {
  lora_emu::yield(false, where);
}
[[noreturn]] __forceinline__ void __trap(lora_emu::Location where = lora_emu::Location::current()) {
  lora_emu::trap(where);
}
