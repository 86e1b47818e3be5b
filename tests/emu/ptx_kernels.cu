// SPDX-License-Identifier: MIT
#include "ptx_kernels.hpp"

#include "device/ptx.cuh"

namespace lora_emu_test {

namespace ptx = lora::cuda::ptx;

__global__ void loads_and_stores(const float* x, float* y) {
  const unsigned t = threadIdx.x;
  const auto* const from = reinterpret_cast<const float4*>(x);
  const float4 a = ptx::load_evict_first(from + t);
  const float4 b = ptx::load_read_only(from + t);
  const float4 c = ptx::load_read_only_evict_first(from + t);
  ptx::store_evict_first(reinterpret_cast<float4*>(y) + t,
                         make_float4(a.x, b.y, c.z, a.w + b.w + c.w));
}

/// n floats to shared memory and back, with zeros up to 4 for each thread; by 16 bytes and by 4.
__global__ void copy_ragged(const float* x, float* y, int n) {
  LORA_SHARED_MEMORY(float, wide, 128);
  LORA_SHARED_MEMORY(float, narrow, 128);
  const int first = 4 * static_cast<int>(threadIdx.x);
  const int here = max(0, min(4, n - first));
  ptx::cp_async_16_zfill(wide + first, x + (here > 0 ? first : 0), 4 * here);
  for (int i = first; i < first + 4; ++i) {
    ptx::cp_async_4_zfill(narrow + i, x + (i < n ? i : 0), i < n ? 4 : 0);
  }
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  for (int i = first; i < first + 4; ++i) {
    y[i] = wide[i];
    y[128 + i] = narrow[i];
  }
}

/// Two buffers in turn: one is summed while the other is filled.
__global__ void sum_of_tiles(const float* x, float* y, int tiles) {
  LORA_SHARED_MEMORY(float, buffers, 2 * kTileFloats);
  const int t = static_cast<int>(threadIdx.x);
  const auto fetch = [&](int tile) {
    if (tile < tiles) {
      ptx::cp_async_16(buffers + tile % 2 * kTileFloats + 4 * t, x + tile * kTileFloats + 4 * t);
    }
    ptx::cp_async_commit();
  };
  fetch(0);
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    ptx::cp_async_wait<1>();
    __syncthreads();
    // What other threads have copied.
    for (int i = 0; i < 4; ++i) {
      sum += buffers[tile % 2 * kTileFloats + (4 * t + 17 * i + 100) % kTileFloats];
    }
    __syncthreads();
  }
  y[t] = sum;
}

/// The first warp fills a buffer that the second reads. Barrier 1: full; barrier 2: empty.
__global__ void hand_over(const float* x, float* y, int rounds) {
  LORA_SHARED_MEMORY(float, buffer, 32);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x < 32) {
    for (int round = 0; round < rounds; ++round) {
      if (round > 0) ptx::named_barrier_sync(2, 64);
      buffer[lane] = x[32 * round + lane];
      ptx::named_barrier_arrive(1, 64);
    }
  } else {
    float sum = 0;
    for (int round = 0; round < rounds; ++round) {
      ptx::named_barrier_sync(1, 64);
      sum += buffer[31 - lane];
      if (round + 1 < rounds) ptx::named_barrier_arrive(2, 64);
    }
    y[lane] = sum;
  }
}

/// One thread orders bulk copies into two stages; the others sum what is there.
__global__ void bulk_pipeline(const float* x, float* y, int tiles) {
  LORA_SHARED_MEMORY(std::uint64_t, full, 2);
  LORA_SHARED_MEMORY(std::uint64_t, empty, 2);
  LORA_DYNAMIC_SHARED_MEMORY(float, buffers);
  constexpr int kBytes = kTileFloats * static_cast<int>(sizeof(float));
  const int consumers = static_cast<int>(blockDim.x) - 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < 2; ++stage) {
      ptx::mbarrier_init(full + stage, 1);
      ptx::mbarrier_init(empty + stage, consumers);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    if (threadIdx.x != 0) return;
    for (int tile = 0; tile < tiles; ++tile) {
      const int stage = tile % 2;
      if (tile >= 2) {
        ptx::mbarrier_wait_parity(empty + stage, static_cast<unsigned>(tile / 2 - 1) % 2);
      }
      ptx::mbarrier_arrive_expect_tx(full + stage, kBytes);
      ptx::bulk_copy(buffers + stage * kTileFloats, x + tile * kTileFloats, kBytes, full + stage);
    }
    return;
  }
  const int t = static_cast<int>(threadIdx.x) - 32;
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % 2;
    while (!ptx::mbarrier_try_wait_parity(full + stage, static_cast<unsigned>(tile / 2) % 2)) {
    }
    for (int i = t; i < kTileFloats; i += consumers) sum += buffers[stage * kTileFloats + i];
    ptx::mbarrier_arrive(empty + stage);
  }
  y[t] = sum;
}

/// Thread 0 writes in even phases and reads in odd ones.
__global__ void arrive_in_turn(int* y, int rounds) {
  LORA_SHARED_MEMORY(std::uint64_t, barrier, 1);
  LORA_SHARED_MEMORY(int, value, 1);
  if (threadIdx.x == 0) ptx::mbarrier_init(barrier, static_cast<int>(blockDim.x));
  __syncthreads();
  int sum = 0;
  for (unsigned phase = 0; phase < 2 * static_cast<unsigned>(rounds); ++phase) {
    if (phase % 2 == 0) {
      if (threadIdx.x == 0) value[0] = static_cast<int>(phase);
    } else {
      sum += value[0];
    }
    ptx::mbarrier_arrive(barrier);
    ptx::mbarrier_wait_parity(barrier, phase % 2);
  }
  y[threadIdx.x] = sum;
}

__global__ void multiply_tf32(const float* a, const float* b, const float* c, float* d) {
  const unsigned g = threadIdx.x / 4;
  const unsigned t = threadIdx.x % 4;
  const ptx::Fragment4 a_part{{ptx::to_tf32(a[g * 8 + t]), ptx::to_tf32(a[(g + 8) * 8 + t]),
                               ptx::to_tf32(a[g * 8 + t + 4]),
                               ptx::to_tf32(a[(g + 8) * 8 + t + 4])}};
  const ptx::Fragment2 b_part{{ptx::to_tf32(b[t * 8 + g]), ptx::to_tf32(b[(t + 4) * 8 + g])}};
  const float4 c_part = make_float4(c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t],
                                    c[(g + 8) * 8 + 2 * t + 1]);
  const float4 d_part = ptx::mma_m16n8k8_tf32(a_part, b_part, c_part);
  d[g * 8 + 2 * t] = d_part.x;
  d[g * 8 + 2 * t + 1] = d_part.y;
  d[(g + 8) * 8 + 2 * t] = d_part.z;
  d[(g + 8) * 8 + 2 * t + 1] = d_part.w;
}

/// a (16, 16) through ldmatrix, b given as (8, 16), which is b transposed.
__global__ void multiply_bf16(const std::uint16_t* a, const std::uint16_t* b, float* d) {
  LORA_SHARED_MEMORY(std::uint16_t, tile, 16 * 16);
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 256; i += 32) tile[i] = a[i];
  __syncwarp();
  // Matrices 0 and 1 are the upper and lower rows of the left half, 2 and 3 of the right.
  const unsigned row = lane % 16;
  const ptx::Fragment4 a_part = ptx::ldmatrix_x4(tile + row * 16 + lane / 16 * 8);
  const unsigned g = lane / 4;
  const unsigned t = lane % 4;
  const auto pair = [&](unsigned k) {
    return static_cast<std::uint32_t>(b[g * 16 + k] | b[g * 16 + k + 1] << 16);
  };
  const float4 d_part =
      ptx::mma_m16n8k16_bf16(a_part, {{pair(2 * t), pair(2 * t + 8)}}, make_float4(0, 0, 0, 0));
  d[g * 8 + 2 * t] = d_part.x;
  d[g * 8 + 2 * t + 1] = d_part.y;
  d[(g + 8) * 8 + 2 * t] = d_part.z;
  d[(g + 8) * 8 + 2 * t + 1] = d_part.w;
}

/// y[lane][matrix][half] of four matrices that lie one after another.
__global__ void load_matrices(const std::uint16_t* x, std::uint16_t* y) {
  LORA_SHARED_MEMORY(std::uint16_t, matrices, 4 * 64);
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 256; i += 32) matrices[i] = x[i];
  __syncwarp();
  const ptx::Fragment4 f = ptx::ldmatrix_x4(matrices + 8 * lane);
  for (unsigned m = 0; m < 4; ++m) {
    y[(lane * 4 + m) * 2] = static_cast<std::uint16_t>(f.x[m] & 0xffff);
    y[(lane * 4 + m) * 2 + 1] = static_cast<std::uint16_t>(f.x[m] >> 16);
  }
}

/// Each block sums its part; the block that is last adds the parts in their order.
__global__ void last_block_sums(const float* x, float* partials, unsigned* counter, float* y) {
  float sum = x[blockIdx.x * 32 + threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, static_cast<unsigned>(distance));
  }
  if (threadIdx.x != 0) return;
  partials[blockIdx.x] = sum;
  __threadfence();
  if (atomicAdd(counter, 1u) + 1 < gridDim.x) return;
  __threadfence();
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += partials[i];
  y[0] = total;
}

/// In each round every block reads what its neighbour wrote in the round before.
__global__ void grid_barriers(std::uint32_t* counter, int* y, int rounds) {
  const unsigned blocks = gridDim.x;
  for (int round = 0; round < rounds; ++round) {
    int* const now = y + round % 2 * static_cast<int>(blocks);
    const int* const before = y + (round + 1) % 2 * static_cast<int>(blocks);
    if (threadIdx.x == 0) {
      now[blockIdx.x] = round == 0 ? 1 : before[(blockIdx.x + 1) % blocks] + 1;
      ptx::atomic_add_acq_rel(counter, 1);
      while (ptx::load_acquire(counter) < blocks * static_cast<unsigned>(round + 1)) {
      }
    }
    __syncthreads();
  }
}

}  // namespace lora_emu_test
