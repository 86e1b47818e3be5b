// SPDX-License-Identifier: MIT
#include "basic_kernels.hpp"

#include "device/ptx.cuh"

namespace lora_emu_test {

__global__ void scale(const float* x, float* y, int n, float factor) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = factor * x[i];
}

__global__ void reverse_in_block(const int* x, int* y) {
  LORA_SHARED_MEMORY(int, values, 256);
  const unsigned first = blockIdx.x * blockDim.x;
  values[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

__global__ void votes(const int* x, int* y) {
  const int mine = x[threadIdx.x];
  const int count = __syncthreads_count(mine);
  const int all = __syncthreads_and(mine);
  const int any = __syncthreads_or(mine);
  y[threadIdx.x] = count * 4 + all * 2 + any;
}

__global__ void shuffles(int* y) {
  constexpr unsigned kAll = 0xffffffffu;
  const int lane = static_cast<int>(threadIdx.x);
  const int value = 100 + lane;
  y[lane] = __shfl_sync(kAll, value, 5);
  y[32 + lane] = __shfl_sync(kAll, value, lane + 1, 8);
  y[64 + lane] = __shfl_up_sync(kAll, value, 3);
  y[96 + lane] = __shfl_down_sync(kAll, value, 3, 16);
  y[128 + lane] = __shfl_xor_sync(kAll, value, 17);
  y[160 + lane] = __shfl_xor_sync(kAll, value, 4, 4);
  if (lane < 8) y[192 + lane] = __shfl_sync(0xffu, value, 7 - lane);
}

__global__ void ballots(unsigned* y) {
  const unsigned lane = threadIdx.x;
  y[lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  const int any = __any_sync(0xffffffffu, lane == 31);
  const int none = __any_sync(0xffffffffu, lane > 31);
  const int all = __all_sync(0xffffffffu, lane < 32);
  const int most = __all_sync(0xffffffffu, lane < 31);
  y[32 + lane] = static_cast<unsigned>(any * 8 + none * 4 + all * 2 + most);
  y[64 + lane] = __reduce_add_sync(0xffffffffu, lane);
  y[96 + lane] = __reduce_min_sync(0xffffffffu, lane + 7);
  y[128 + lane] = __reduce_max_sync(0xffffffffu, lane + 7);
  y[160 + lane] = __activemask();
}

__global__ void sum_rows(const float* x, float* y, int columns) {
  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += warpSize) {
    sum += x[row * columns + i];
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  }
  if (threadIdx.x == 0) y[row] = sum;
}

/// c = a bᵀ, with a (m, k) and b (n, k) and all extents multiples of the tile.
__global__ void sgemm(const float* a, const float* b, float* c, int, int n, int k) {
  constexpr int kDepth = 16;
  constexpr int kStride = kDepth + 1;
  LORA_SHARED_MEMORY(float, a_tile, kSgemmTile* kStride);
  LORA_SHARED_MEMORY(float, b_tile, kSgemmTile* kStride);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) * kSgemmTile;
  const int column = static_cast<int>(blockIdx.x) * kSgemmTile;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < k; k0 += kDepth) {
    for (int i = t; i < kSgemmTile * kDepth; i += kSgemmThreads) {
      const int r = i / kDepth;
      const int d = i % kDepth;
      a_tile[r * kStride + d] = a[(row + r) * k + k0 + d];
      b_tile[r * kStride + d] = b[(column + r) * k + k0 + d];
    }
    __syncthreads();
    for (int d = 0; d < kDepth; ++d) {
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
          sums[i][j] +=
              a_tile[(t / 16 * 4 + i) * kStride + d] * b_tile[(t % 16 * 4 + j) * kStride + d];
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j)
      c[(row + t / 16 * 4 + i) * n + column + t % 16 * 4 + j] = sums[i][j];
  }
}

__global__ void dynamic_memory(float* y, int count) {
  LORA_DYNAMIC_SHARED_MEMORY(float, values);
  const int t = static_cast<int>(threadIdx.x);
  for (int i = t; i < count; i += static_cast<int>(blockDim.x)) values[i] = static_cast<float>(i);
  __syncthreads();
  for (int i = t; i < count; i += static_cast<int>(blockDim.x)) y[i] = values[count - 1 - i];
}

/// Each block but the first waits for the one before it, so all have to be alive together.
__global__ void pass_on(std::uint32_t* flags, int* y) {
  namespace ptx = lora::cuda::ptx;
  const unsigned block = blockIdx.x;
  if (threadIdx.x == 0) {
    if (block > 0) {
      while (ptx::load_acquire(&flags[block - 1]) == 0) {
      }
      y[block] = y[block - 1] + 1;
    } else {
      y[0] = 1;
    }
    ptx::store_release(&flags[block], 1);
  }
}

__global__ void count_with_atomics(int* counters) {
  atomicAdd(&counters[0], 1);
  atomicMax(&counters[1], static_cast<int>(threadIdx.x));
  atomicMin(&counters[2], static_cast<int>(threadIdx.x) - 5);
  atomicSub(&counters[3], 2);
  atomicOr(&counters[4], 1 << (threadIdx.x % 8));
  int seen = atomicAdd(&counters[5], 0);
  for (int old = atomicCAS(&counters[5], seen, seen + 3); old != seen;
       old = atomicCAS(&counters[5], seen, seen + 3)) {
    seen = old;
  }
}

template <class T>
__global__ void add_to(T* sum) {
  atomicAdd(sum, static_cast<T>(threadIdx.x));
}
template __global__ void add_to(int*);
template __global__ void add_to(unsigned long long*);
template __global__ void add_to(float*);
template __global__ void add_to(double*);

__global__ void other_atomics(unsigned* counters) {
  atomicInc(&counters[0], 9u);
  atomicDec(&counters[1], 9u);
  atomicAnd(&counters[2], ~(1u << threadIdx.x));
  atomicXor(&counters[3], 1u << threadIdx.x);
  atomicExch(&counters[4], 77u);
}

__global__ void write_indices(uint3* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  y[2 * (block * threads + thread)] = blockIdx;
  y[2 * (block * threads + thread) + 1] = threadIdx;
}

static __constant__ float constants[4];

cudaError_t set_constants(const float (&values)[4]) {
  return cudaMemcpyToSymbol(constants, values, sizeof values);
}

__global__ void use_constants(float* y) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum = 10 * sum + constants[i];
  y[threadIdx.x] = sum;
}

/// Threads take turns, the last first. Warps may not wait for their own lanes before Volta.
__global__ void wait_politely(unsigned* turn, int* y) {
  while (atomicAdd(turn, 0u) != blockDim.x - 1 - threadIdx.x) __nanosleep(100);
  y[threadIdx.x] = static_cast<int>(blockDim.x - threadIdx.x);
  __threadfence();
  atomicAdd(turn, 1u);
}

__global__ void barriers_only(int rounds) {
  for (int i = 0; i < rounds; ++i) __syncthreads();
}

}  // namespace lora_emu_test
