// SPDX-License-Identifier: MIT
// Kernels whose instructions are known, to show that histogram.py reads machine code correctly.

extern "C" __global__ void probe_byte(const unsigned char* x, unsigned char* y) {
  y[threadIdx.x] = x[threadIdx.x] + 1;
}

extern "C" __global__ void probe_float(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x] + 1.0f;
}

extern "C" __global__ void probe_float2(const float2* x, float2* y) {
  const float2 v = x[threadIdx.x];
  y[threadIdx.x] = make_float2(v.y, v.x);
}

extern "C" __global__ void probe_float4(const float4* x, float4* y) {
  const float4 v = x[threadIdx.x];
  y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
}

// An array with subscripts that are known only when it runs lies in local memory.
extern "C" __global__ void probe_local(const int* x, int* y, int count) {
  int seen[64];
  for (int i = 0; i < count; ++i) seen[x[i] & 63] = i;
  for (int i = 0; i < count; ++i) y[i] = seen[(x[i] + 1) & 63];
}
