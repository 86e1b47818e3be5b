// SPDX-License-Identifier: MIT
#pragma once

// CUDA's vector types with CUDA's sizes and alignments: a 128-bit load from a misaligned address
// is an error on the device, and the alignment lets UBSan say so here.

#define LORA_EMU_VECTOR(name, scalar, alignment_of_4)                                  \
  struct name##1 {                                                                     \
    scalar x;                                                                          \
  };                                                                                   \
  struct alignas(2 * sizeof(scalar)) name##2 {                                         \
    scalar x, y;                                                                       \
  };                                                                                   \
  struct name##3 {                                                                     \
    scalar x, y, z;                                                                    \
  };                                                                                   \
  struct alignas(alignment_of_4) name##4 {                                             \
    scalar x, y, z, w;                                                                 \
  };                                                                                   \
  constexpr name##1 make_##name##1(scalar x) { return {x}; }                           \
  constexpr name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }              \
  constexpr name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

LORA_EMU_VECTOR(char, signed char, 4)
LORA_EMU_VECTOR(uchar, unsigned char, 4)
LORA_EMU_VECTOR(short, short, 8)
LORA_EMU_VECTOR(ushort, unsigned short, 8)
LORA_EMU_VECTOR(int, int, 16)
LORA_EMU_VECTOR(uint, unsigned int, 16)
LORA_EMU_VECTOR(longlong, long long, 16)
LORA_EMU_VECTOR(ulonglong, unsigned long long, 16)
LORA_EMU_VECTOR(float, float, 16)
LORA_EMU_VECTOR(double, double, 16)

#undef LORA_EMU_VECTOR

struct dim3 {
  unsigned x, y, z;
  // Implicit, as CUDA's: a whole number is a one-dimensional extent.
  constexpr dim3(unsigned x_extent = 1, unsigned y_extent = 1, unsigned z_extent = 1)
      : x(x_extent), y(y_extent), z(z_extent) {}
  constexpr dim3(uint3 extents) : x(extents.x), y(extents.y), z(extents.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
