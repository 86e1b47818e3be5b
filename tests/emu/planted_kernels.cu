// SPDX-License-Identifier: MIT
#include "planted_kernels.hpp"

#include "device/ptx.cuh"

namespace lora_emu_test {

namespace ptx = lora::cuda::ptx;

__global__ void missing_barrier(const int* x, int* y) {
  LORA_SHARED_MEMORY(int, values, 64);
  values[threadIdx.x] = x[threadIdx.x];       // missing barrier: write
  y[threadIdx.x] = values[63 - threadIdx.x];  // missing barrier: read
}

__global__ void race_in_shared_memory(int* y) {
  LORA_SHARED_MEMORY(int, last, 1);
  if (threadIdx.x == 3) last[0] = 3;    // race: one
  if (threadIdx.x == 40) last[0] = 40;  // race: other
  __syncthreads();
  y[threadIdx.x] = last[0];
}

__global__ void race_between_blocks(float* y) {
  y[threadIdx.x] = static_cast<float>(blockIdx.x);  // race between blocks
}

__global__ void write_past_global_memory(float* y, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i <= n) y[i] = 1;  // past global memory
}

__global__ void write_past_shared_memory(float* y, int past) {
  LORA_SHARED_MEMORY(float, values, 8);
  float* const pointer = values;
  pointer[threadIdx.x == 0 ? 7 + past : threadIdx.x] = 1;  // past shared memory
  __syncthreads();
  y[threadIdx.x] = pointer[threadIdx.x];
}

__global__ void forget_the_last(float* y, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n - 1) y[i] = 1;
}

__global__ void shuffle_from_outside_the_mask(int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) y[lane] = __shfl_sync(0x0000ffffu, lane, 20);  // outside the mask
}

__global__ void shuffle_with_exited_lanes(int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= 16) return;
  y[lane] = __shfl_xor_sync(0xffffffffu, lane, 1);  // exited lanes
}

__global__ void shuffle_without_own_lane(int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  y[lane] = __shfl_sync(0x0000ffffu, lane, 0);  // own lane
}

__global__ void different_warp_operations(int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane % 2 == 0) {
    y[lane] = __shfl_sync(0xffffffffu, lane, 0);  // different operations: shuffle
  } else {
    y[lane] = __any_sync(0xffffffffu, lane);  // different operations: vote
  }
}

__global__ void shuffle_for_a_barrier(int* y) {
  LORA_SHARED_MEMORY(int, value, 1);
  if (threadIdx.x == 0) value[0] = 7;  // shuffle for a barrier: write
  const int lane = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x), 0);
  y[threadIdx.x] = value[lane];  // shuffle for a barrier: read
}

__global__ void barrier_in_one_branch(int* y) {
  if (threadIdx.x < 32) {
    __syncthreads();  // one branch: barrier
  } else {
    ptx::named_barrier_sync(3, 64);  // one branch: other
  }
  y[threadIdx.x] = 1;
}

__global__ void barrier_after_an_exit(int* y) {
  if (threadIdx.x >= 48) return;
  __syncthreads();  // after an exit
  y[threadIdx.x] = 1;
}

__global__ void exit_before_a_barrier(int* y) {
  LORA_SHARED_MEMORY(int, turn, 1);
  if (threadIdx.x == 0) turn[0] = 0;
  __syncthreads();
  if (threadIdx.x == 0) return;
  __syncthreads();  // exit before
  y[threadIdx.x] = turn[0];
}

__global__ void two_barriers(int* y) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();  // two barriers: even
  } else {
    __syncthreads();  // two barriers: odd
  }
  y[threadIdx.x] = 1;
}

__global__ void barrier_against_shuffle(int* y) {
  if (threadIdx.x < 40) {
    __syncthreads();  // against shuffle: barrier
  } else {
    __syncwarp();  // against shuffle: warp
  }
  y[threadIdx.x] = 1;
}

__global__ void endless_wait(const std::uint32_t* flag) {
  while (ptx::load_acquire(flag) == 0) {  // endless
  }
}

__global__ void arrive_for_nobody() {
  if (threadIdx.x >= 32) return;
  ptx::named_barrier_arrive(5, 64);  // for nobody: arrival
}

__global__ void copy_for_nobody(const float* x) {
  LORA_SHARED_MEMORY(std::uint64_t, barrier, 1);
  LORA_SHARED_MEMORY(float, values, 16);
  if (threadIdx.x != 0) return;
  ptx::mbarrier_init(barrier, 1);
  ptx::mbarrier_arrive_expect_tx(barrier, 64);
  ptx::bulk_copy(values, x, 64, barrier);  // for nobody: copy
}

__global__ void short_named_barrier() {
  ptx::named_barrier_sync(1, 48);  // short named barrier
}

__global__ void read_before_the_wait(const float* x, float* y) {
  LORA_SHARED_MEMORY(float, values, 128);
  const unsigned t = threadIdx.x;
  ptx::cp_async_16(values + 4 * t, x + 4 * t);
  ptx::cp_async_commit();
  y[t] = values[4 * t + 1];  // before the wait
  ptx::cp_async_wait<0>();
}

__global__ void read_without_a_barrier(const float* x, float* y) {
  LORA_SHARED_MEMORY(float, values, 128);
  const unsigned t = threadIdx.x;
  ptx::cp_async_16(values + 4 * t, x + 4 * t);  // without a barrier: copy
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  y[t] = values[(4 * t + 4) % 128];  // without a barrier: read
}

__global__ void refill_too_early(const float* x, float* y, int tiles) {
  LORA_SHARED_MEMORY(float, buffers, 2 * 256);
  const unsigned t = threadIdx.x;
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    float* const buffer = buffers + tile % 2 * 256;
    ptx::cp_async_16(buffer + 4 * t, x + 256 * tile + 4 * t);  // too early: copy
    ptx::cp_async_commit();
    if (tile > 0) {
      const float* const before = buffers + (tile + 1) % 2 * 256;
      ptx::cp_async_wait<1>();
      __syncthreads();
      sum += before[(4 * t + 100) % 256];  // too early: read
    }
  }
  ptx::cp_async_wait<0>();
  y[t] = sum;
}

__global__ void refill_stage_too_early(const float* x, float* y) {
  LORA_SHARED_MEMORY(std::uint64_t, full, 1);
  LORA_SHARED_MEMORY(float, stage, 64);
  if (threadIdx.x == 0) ptx::mbarrier_init(full, 1);
  __syncthreads();
  const auto fill = [&](int tile) {
    if (threadIdx.x != 0) return;
    ptx::mbarrier_arrive_expect_tx(full, 256);
    ptx::bulk_copy(stage, x + 64 * tile, 256, full);  // stage too early: copy
  };
  fill(0);
  ptx::mbarrier_wait_parity(full, 0);
  float sum = stage[threadIdx.x];  // stage too early: read
  fill(1);
  __syncthreads();
  ptx::mbarrier_wait_parity(full, 1);
  sum += stage[threadIdx.x];
  y[threadIdx.x] = sum;
}

__global__ void exit_with_a_copy(const float* x) {
  LORA_SHARED_MEMORY(float, values, 128);
  ptx::cp_async_16(values + 4 * threadIdx.x, x + 4 * threadIdx.x);  // with a copy
  ptx::cp_async_commit();
}

__global__ void overwrite_the_source(float* x, float* y) {
  LORA_SHARED_MEMORY(float, values, 128);
  const unsigned t = threadIdx.x;
  ptx::cp_async_16(values + 4 * t, x + 4 * t);
  x[4 * t] = -1;
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  y[t] = values[4 * t];
}

__global__ void too_few_bytes(const float* x) {
  LORA_SHARED_MEMORY(std::uint64_t, barrier, 1);
  LORA_SHARED_MEMORY(float, values, 16);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, 1);
    ptx::mbarrier_arrive_expect_tx(barrier, 64);
    ptx::bulk_copy(values, x, 48, barrier);
  }
  __syncthreads();
  ptx::mbarrier_wait_parity(barrier, 0);  // too few
}

__global__ void too_many_bytes(const float* x) {
  LORA_SHARED_MEMORY(std::uint64_t, barrier, 1);
  LORA_SHARED_MEMORY(float, values, 16);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, 1);
    ptx::bulk_copy(values, x, 64, barrier);
    ptx::mbarrier_arrive_expect_tx(barrier, 48);
  }
  __syncthreads();
  ptx::mbarrier_wait_parity(barrier, 0);  // too many
}

__global__ void reach_a_trap(const int* x) {
  if (x[threadIdx.x] == 7) __trap();  // trap
}

__global__ void misaligned_load(const float* x, float* y) {
  const float4 v = *reinterpret_cast<const float4*>(x + 1 + threadIdx.x);  // misaligned
  y[threadIdx.x] = v.x;
}

}  // namespace lora_emu_test
