// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <cuda_runtime.h>

#include "support/catch.hpp"

TEST_CASE("vector types have CUDA's sizes and alignments", "[emu][math]") {
  CHECK((sizeof(float2) == 8 && alignof(float2) == 8));
  CHECK((sizeof(float3) == 12 && alignof(float3) == 4));
  CHECK((sizeof(float4) == 16 && alignof(float4) == 16));
  CHECK((sizeof(double2) == 16 && alignof(double2) == 16));
  CHECK((sizeof(int4) == 16 && alignof(int4) == 16));
  CHECK((sizeof(uchar4) == 4 && alignof(uchar4) == 4));
  CHECK((sizeof(ushort2) == 4 && alignof(ushort2) == 4));
  const float4 v = make_float4(1, 2, 3, 4);
  CHECK((v.x == 1 && v.y == 2 && v.z == 3 && v.w == 4));
  const dim3 extent(5, 2);
  CHECK((extent.x == 5 && extent.y == 2 && extent.z == 1));
}

TEST_CASE("min and max", "[emu][math]") {
  CHECK(min(3, -2) == -2);
  CHECK(max(3u, 7u) == 7u);
  CHECK(min(1.5f, NAN) == 1.5f);
  CHECK(max(double{NAN}, -1.0) == -1.0);
  static_assert(std::is_same_v<decltype(max(1.0f, 2.0f)), float>);
}

TEST_CASE("rounded arithmetic", "[emu][math]") {
  const float third = 1.0f / 3.0f;
  CHECK(__fmaf_rn(third, 3.0f, -1.0f) == std::fma(third, 3.0f, -1.0f));
  CHECK(__fmaf_rn(third, 3.0f, -1.0f) != __fadd_rn(__fmul_rn(third, 3.0f), -1.0f));
  CHECK(__fsub_rn(1.0f, third) == 1.0f - third);
  CHECK(__fdiv_rn(1.0f, 3.0f) == third);
  CHECK(__frcp_rn(3.0f) == third);
  CHECK(__fsqrt_rn(2.0f) == std::sqrt(2.0f));
  CHECK(__dmul_rn(0.1, 0.2) == 0.1 * 0.2);
  CHECK(__dadd_rn(0.1, 0.2) == 0.1 + 0.2);
  CHECK(__ddiv_rn(1.0, 3.0) == 1.0 / 3.0);
  CHECK(__dsqrt_rn(2.0) == std::sqrt(2.0));
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(__expf(1.0f) == std::exp(1.0f));
  CHECK(__logf(2.0f) == std::log(2.0f));
  CHECK(__powf(2.0f, 10.0f) == 1024.0f);
  CHECK(__saturatef(-0.5f) == 0.0f);
  CHECK(__saturatef(NAN) == 0.0f);
  CHECK(__double2float_rn(0.1) == 0.1f);
  CHECK(__float2int_rn(2.5f) == 2);
}

TEST_CASE("bits", "[emu][math]") {
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__brev(1u) == 0x80000000u);
  CHECK(__umulhi(0xd2511f53u, 0x9e3779b9u) ==
        static_cast<unsigned>(std::uint64_t{0xd2511f53u} * 0x9e3779b9u >> 32));
  CHECK(__umul64hi(1ull << 63, 6) == 3);
  CHECK(__float_as_int(1.0f) == 0x3f800000);
  CHECK(__float_as_uint(-0.0f) == 0x80000000u);
  CHECK(__int_as_float(0x40000000) == 2.0f);
  CHECK(__longlong_as_double(__double_as_longlong(-1.5)) == -1.5);
}

TEST_CASE("cached loads and stores are loads and stores", "[emu][math]") {
  float x = 2;
  CHECK(__ldg(&x) + __ldcs(&x) + __ldcg(&x) + __ldlu(&x) == 8.0f);
  __stcs(&x, 3.0f);
  CHECK(x == 3.0f);
  __stcg(&x, 4.0f);
  CHECK(x == 4.0f);
}
