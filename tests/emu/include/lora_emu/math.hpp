// SPDX-License-Identifier: MIT
#pragma once

// Arithmetic with the roundings that CUDA documents. The fast versions are the exact functions: a
// test that passes only with them asks too much of the device.

#include <bit>
#include <cmath>
#include <cstdint>

#include <lora_emu/thread.hpp>

#define LORA_EMU_MIN_MAX(T)                                           \
  __forceinline__ constexpr T min(T a, T b) { return b < a ? b : a; } \
  __forceinline__ constexpr T max(T a, T b) { return a < b ? b : a; }
LORA_EMU_MIN_MAX(int)
LORA_EMU_MIN_MAX(unsigned)
LORA_EMU_MIN_MAX(long)
LORA_EMU_MIN_MAX(unsigned long)
LORA_EMU_MIN_MAX(long long)
LORA_EMU_MIN_MAX(unsigned long long)
#undef LORA_EMU_MIN_MAX

// Of a number and a NaN these give the number, as fminf and fmaxf do.
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }

__forceinline__ float __fadd_rn(float a, float b) { return a + b; }
__forceinline__ float __fsub_rn(float a, float b) { return a - b; }
__forceinline__ float __fmul_rn(float a, float b) { return a * b; }
__forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
__forceinline__ float __frcp_rn(float a) { return 1.0f / a; }
__forceinline__ float __fsqrt_rn(float a) { return sqrtf(a); }
__forceinline__ float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
__forceinline__ double __dadd_rn(double a, double b) { return a + b; }
__forceinline__ double __dsub_rn(double a, double b) { return a - b; }
__forceinline__ double __dmul_rn(double a, double b) { return a * b; }
__forceinline__ double __ddiv_rn(double a, double b) { return a / b; }
__forceinline__ double __dsqrt_rn(double a) { return sqrt(a); }
__forceinline__ double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
__forceinline__ float __fdividef(float a, float b) { return a / b; }
__forceinline__ float rsqrtf(float a) { return static_cast<float>(1.0 / sqrt(double{a})); }
__forceinline__ double rsqrt(double a) { return 1.0 / sqrt(a); }
__forceinline__ float __frsqrt_rn(float a) { return rsqrtf(a); }
__forceinline__ float __saturatef(float a) { return fminf(fmaxf(a, 0.0f), 1.0f); }

__forceinline__ float __double2float_rn(double a) { return static_cast<float>(a); }
__forceinline__ float __int2float_rn(int a) { return static_cast<float>(a); }
__forceinline__ float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
__forceinline__ int __float2int_rn(float a) { return static_cast<int>(nearbyintf(a)); }
__forceinline__ int __float2int_rz(float a) { return static_cast<int>(a); }

// Macros, because the C library declares functions of these names.
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

__forceinline__ int __popc(unsigned a) { return std::popcount(a); }
__forceinline__ int __popcll(unsigned long long a) { return std::popcount(a); }
__forceinline__ int __clz(int a) { return std::countl_zero(static_cast<unsigned>(a)); }
__forceinline__ int __clzll(long long a) {
  return std::countl_zero(static_cast<unsigned long long>(a));
}
__forceinline__ int __ffs(int a) {
  return a == 0 ? 0 : std::countr_zero(static_cast<unsigned>(a)) + 1;
}
__forceinline__ unsigned __brev(unsigned a) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= ((a >> bit) & 1u) << (31 - bit);
  return reversed;
}
__forceinline__ unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>((Wide{a} * b) >> 64);
}

__forceinline__ int __float_as_int(float a) { return std::bit_cast<int>(a); }
__forceinline__ unsigned __float_as_uint(float a) { return std::bit_cast<unsigned>(a); }
__forceinline__ float __int_as_float(int a) { return std::bit_cast<float>(a); }
__forceinline__ float __uint_as_float(unsigned a) { return std::bit_cast<float>(a); }
__forceinline__ long long __double_as_longlong(double a) { return std::bit_cast<long long>(a); }
__forceinline__ double __longlong_as_double(long long a) { return std::bit_cast<double>(a); }

template <class T>
__forceinline__ T __ldg(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldcs(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldcg(const T* address) {
  return *address;
}
template <class T>
__forceinline__ T __ldlu(const T* address) {
  return *address;
}
template <class T>
__forceinline__ void __stcs(T* address, T value) {
  *address = value;
}
template <class T>
__forceinline__ void __stcg(T* address, T value) {
  *address = value;
}
