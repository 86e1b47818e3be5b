// SPDX-License-Identifier: MIT
#pragma once

// The twin of kernels/device/ptx.cuh: what each instruction does, and what it demands.

#include <cstdint>

#include <cuda_runtime.h>

namespace lora_emu {

void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes,
              Location where);
void cp_async_commit();
void cp_async_wait(std::size_t pending, Location where);

void mbarrier_init(std::uint64_t* barrier, int arrivals, Location where);
void mbarrier_arrive(std::uint64_t* barrier, int bytes, Location where);
bool mbarrier_is_over(std::uint64_t* barrier, unsigned parity, Location where);
void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Location where);
void bulk_copy(void* shared, const void* global, int bytes, std::uint64_t* barrier, Location where);

void check_aligned(const void* address, unsigned alignment, Location where);
/// Around a look at a flag: lets others run before, and remembers what was seen, so that looking
/// in vain is known from seeing news.
void before_look(const void* flag, Location where);
void after_look(const void* flag, std::uint32_t value);

/// What a lane brings to the tensor cores and takes from them.
struct LaneMatrices {
  std::uint32_t a[4];
  std::uint32_t b[2];
  float c[4];
};
struct LaneRows {
  /// The 8 16-bit numbers of the row that this lane addresses.
  std::uint32_t row[4];
  std::uint32_t fragment[4];
};
int mma_tf32(void* const (&lanes)[32], unsigned mask);
int mma_bf16(void* const (&lanes)[32], unsigned mask);
int ldmatrix(void* const (&lanes)[32], unsigned mask);

}  // namespace lora_emu

namespace lora::inline v0::cuda::ptx {

using lora_emu::Location;

__forceinline__ float4 load_evict_first(const float4* global,
                                        Location where = Location::current()) {
  lora_emu::check_aligned(global, 16, where);
  return *global;
}
__forceinline__ float4 load_read_only(const float4* global, Location where = Location::current()) {
  lora_emu::check_aligned(global, 16, where);
  return *global;
}
__forceinline__ float4 load_read_only_evict_first(const float4* global,
                                                  Location where = Location::current()) {
  lora_emu::check_aligned(global, 16, where);
  return *global;
}
__forceinline__ void store_evict_first(float4* global, float4 v,
                                       Location where = Location::current()) {
  lora_emu::check_aligned(global, 16, where);
  *global = v;
}

__forceinline__ void cp_async_16(void* shared, const void* global,
                                 Location where = Location::current()) {
  lora_emu::cp_async(shared, global, 16, 16, where);
}
__forceinline__ void cp_async_16_zfill(void* shared, const void* global, int bytes,
                                       Location where = Location::current()) {
  lora_emu::cp_async(shared, global, 16, static_cast<unsigned>(bytes), where);
}
__forceinline__ void cp_async_4_zfill(void* shared, const void* global, int bytes,
                                      Location where = Location::current()) {
  lora_emu::cp_async(shared, global, 4, static_cast<unsigned>(bytes), where);
}
__forceinline__ void cp_async_commit() { lora_emu::cp_async_commit(); }
template <int kPending>
__forceinline__ void cp_async_wait(Location where = Location::current()) {
  static_assert(kPending >= 0);
  lora_emu::cp_async_wait(kPending, where);
}

__forceinline__ void named_barrier_sync(int id, int threads, Location where = Location::current()) {
  lora_emu::named_barrier_sync(id, threads, where);
}
__forceinline__ void named_barrier_arrive(int id, int threads,
                                          Location where = Location::current()) {
  lora_emu::named_barrier_arrive(id, threads, where);
}

__forceinline__ void mbarrier_init(std::uint64_t* barrier, int arrivals,
                                   Location where = Location::current()) {
  lora_emu::mbarrier_init(barrier, arrivals, where);
}
__forceinline__ void mbarrier_arrive(std::uint64_t* barrier, Location where = Location::current()) {
  lora_emu::mbarrier_arrive(barrier, 0, where);
}
__forceinline__ void mbarrier_arrive_expect_tx(std::uint64_t* barrier, int bytes,
                                               Location where = Location::current()) {
  lora_emu::mbarrier_arrive(barrier, bytes, where);
}
__forceinline__ bool mbarrier_try_wait_parity(std::uint64_t* barrier, unsigned parity,
                                              Location where = Location::current()) {
  return lora_emu::mbarrier_is_over(barrier, parity, where);
}
__forceinline__ void mbarrier_wait_parity(std::uint64_t* barrier, unsigned parity,
                                          Location where = Location::current()) {
  lora_emu::mbarrier_wait(barrier, parity, where);
}
__forceinline__ void fence_mbarrier_init() {}
__forceinline__ void bulk_copy(void* shared, const void* global, int bytes, std::uint64_t* barrier,
                               Location where = Location::current()) {
  lora_emu::bulk_copy(shared, global, bytes, barrier, where);
}

struct Fragment4 {
  std::uint32_t x[4];
};
struct Fragment2 {
  std::uint32_t x[2];
};

__forceinline__ Fragment4 ldmatrix_x4(const void* shared_row,
                                      Location where = Location::current()) {
  lora_emu::check_aligned(shared_row, 16, where);
  lora_emu::LaneRows lane;
  const uint4 row = *static_cast<const uint4*>(shared_row);
  std::memcpy(lane.row, &row, sizeof row);
  lora_emu::warp_rendezvous("ldmatrix", ~0u, &lane, lora_emu::ldmatrix, "", where);
  Fragment4 f;
  std::memcpy(f.x, lane.fragment, sizeof f.x);
  return f;
}

__forceinline__ std::uint32_t to_tf32(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  // 13 bits are dropped; half of the last that stays is added to the magnitude.
  return finite ? (bits + 0x1000u) & ~0x1fffu : bits;
}

namespace detail {

__forceinline__ float4 mma(const char* name, lora_emu::WarpFunction function, Fragment4 a,
                           Fragment2 b, float4 c, Location where) {
  lora_emu::LaneMatrices lane{
      {a.x[0], a.x[1], a.x[2], a.x[3]}, {b.x[0], b.x[1]}, {c.x, c.y, c.z, c.w}};
  lora_emu::warp_rendezvous(name, ~0u, &lane, function, "", where);
  return {lane.c[0], lane.c[1], lane.c[2], lane.c[3]};
}

}  // namespace detail

__forceinline__ float4 mma_m16n8k8_tf32(Fragment4 a, Fragment2 b, float4 c,
                                        Location where = Location::current()) {
  return detail::mma("mma_m16n8k8_tf32", lora_emu::mma_tf32, a, b, c, where);
}
__forceinline__ float4 mma_m16n8k16_bf16(Fragment4 a, Fragment2 b, float4 c,
                                         Location where = Location::current()) {
  return detail::mma("mma_m16n8k16_bf16", lora_emu::mma_bf16, a, b, c, where);
}

__forceinline__ std::uint32_t load_acquire(const std::uint32_t* flag,
                                           Location where = Location::current()) {
  lora_emu::before_look(flag, where);
  const std::uint32_t v = __atomic_load_n(flag, __ATOMIC_ACQUIRE);
  lora_emu::after_look(flag, v);
  return v;
}
__forceinline__ void store_release(std::uint32_t* flag, std::uint32_t v,
                                   Location where = Location::current()) {
  __atomic_store_n(flag, v, __ATOMIC_RELEASE);
  lora_emu::yield(true, where);
}
__forceinline__ std::uint32_t atomic_add_acq_rel(std::uint32_t* counter, std::uint32_t v,
                                                 Location where = Location::current()) {
  const std::uint32_t old = __atomic_fetch_add(counter, v, __ATOMIC_ACQ_REL);
  lora_emu::yield(v != 0, where);
  return old;
}

}  // namespace lora::inline v0::cuda::ptx
