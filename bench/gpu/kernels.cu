// SPDX-License-Identifier: MIT
#include "gpu/kernels.hpp"

namespace lora_bench {

namespace {

constexpr int kThreads = 256;

// Four loads of 16 bytes are issued before the first is used: what hides the latency of memory.
__global__ __launch_bounds__(kThreads) void read_kernel(const float4* x, std::int64_t packs,
                                                        float* sums) {
  constexpr int kUnroll = 4;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  float sum = 0;
  for (; i + (kUnroll - 1) * stride < packs; i += kUnroll * stride) {
    float4 pack[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) pack[u] = x[i + u * stride];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum += (pack[u].x + pack[u].y) + (pack[u].z + pack[u].w);
  }
  for (; i < packs; i += stride) sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);

  __shared__ float of_thread[kThreads];
  of_thread[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = of_thread[0];
}

__global__ void delay_kernel(long long cycles) {
  const long long start = clock64();
  while (clock64() - start < cycles) {
  }
}

__global__ void nothing_kernel() {}

}  // namespace

cudaError_t launch_read(const float* x, std::int64_t size, float* sums, cudaStream_t stream) {
  read_kernel<<<kReadBlocks, kThreads, 0, stream>>>(reinterpret_cast<const float4*>(x), size / 4,
                                                    sums);
  return cudaGetLastError();
}

cudaError_t launch_delay(cudaStream_t stream) {
  delay_kernel<<<1, 1, 0, stream>>>(50000);
  return cudaGetLastError();
}

cudaError_t launch_nothing(cudaStream_t stream) {
  nothing_kernel<<<1, 1, 0, stream>>>();
  return cudaGetLastError();
}

}  // namespace lora_bench
