// SPDX-License-Identifier: MIT
#pragma once

// All inline PTX, behind typed functions. For the CPU every function has a twin of the same
// meaning in tests/emu/include/lora_emu/ptx.hpp. What an architecture lacks is done in its own way
// where that gives the same result, and traps where it does not.

#if defined(LORA_EMULATION)

#include <lora_emu/ptx.hpp>

#else

#include <cuda_runtime.h>

#include <cstdint>

namespace lora::inline v0::cuda::ptx {

/// The address of shared memory as PTX wants it: 32 bits.
__device__ __forceinline__ std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

// Loads and stores of 16 bytes with hints for the caches.

/// Not volatile: the compiler makes it once and keeps it in registers.
__device__ __forceinline__ std::uint64_t evict_first_policy() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// For data that is read once: it is the first to leave the caches.
__device__ __forceinline__ float4 load_evict_first(const float4* global) {
  float4 v;
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.f32 {%0, %1, %2, %3}, [%4], %5;"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(global), "l"(evict_first_policy())
               : "memory");
  return v;
}

/// For data that nobody writes while the kernel runs.
__device__ __forceinline__ float4 load_read_only(const float4* global) {
  float4 v;
  asm("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "l"(global));
  return v;
}

/// Both: read once, and never written while the kernel runs.
__device__ __forceinline__ float4 load_read_only_evict_first(const float4* global) {
  float4 v;
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.f32 {%0, %1, %2, %3}, [%4], %5;"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "l"(global), "l"(evict_first_policy()));
  return v;
}

/// For data that is not read again soon.
__device__ __forceinline__ void store_evict_first(float4* global, float4 v) {
  asm volatile(
      "st.global.L1::no_allocate.L2::cache_hint.v4.f32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(global),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "l"(evict_first_policy())
      : "memory");
}

// Asynchronous copies from global to shared memory. The addresses are aligned to what is copied.
// What a thread copied is there for itself after the wait, and for others after a barrier besides.

__device__ __forceinline__ void cp_async_16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(global)
               : "memory");
}

/// Reads `bytes` (0 to 16) and fills the rest of the 16 with zeros.
__device__ __forceinline__ void cp_async_16_zfill(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}

/// Reads `bytes` (0 to 4) and fills the rest of the 4 with zeros.
__device__ __forceinline__ void cp_async_4_zfill(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}

/// The copies since the last commit are one group.
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most `kPending` of this thread's groups, the latest, are on their way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Barriers for a part of a block: 16 of them, of which 0 is the one of __syncthreads.

__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Barriers in shared memory, which can also count bytes that arrive.

__device__ __forceinline__ void mbarrier_init(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(std::uint64_t* barrier) {
  asm volatile(
      "{\n"
      ".reg .b64 state;\n"
      "mbarrier.arrive.shared::cta.b64 state, [%0];\n"
      "}" ::"r"(shared_address(barrier))
      : "memory");
}

/// Arrives, and makes the phase wait for `bytes` more of bulk copies. From sm_90 on.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(std::uint64_t* barrier, int bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b64 state;\n"
      "mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
#else
  __trap();
#endif
}

/// Whether the phase of this parity is over. From sm_90 on the hardware lets the thread sleep for
/// a while first.
__device__ __forceinline__ bool mbarrier_try_wait_parity(std::uint64_t* barrier, unsigned parity) {
  unsigned done;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .pred over;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
      "selp.u32 %0, 1, 0, over;\n"
      "}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
#else
  asm volatile(
      "{\n"
      ".reg .pred over;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 over, [%1], %2;\n"
      "selp.u32 %0, 1, 0, over;\n"
      "}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
#endif
  return done != 0;
}

__device__ __forceinline__ void mbarrier_wait_parity(std::uint64_t* barrier, unsigned parity) {
  while (!mbarrier_try_wait_parity(barrier, parity)) {
  }
}

/// Makes initialised barriers visible to bulk copies; a block barrier for the threads besides.
__device__ __forceinline__ void fence_mbarrier_init() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  __threadfence_block();
#endif
}

/// Copies `bytes`, a multiple of 16 as both addresses, and counts them at the barrier. From sm_90.
__device__ __forceinline__ void bulk_copy(void* shared, const void* global, int bytes,
                                          std::uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
#else
  __trap();
#endif
}

// Tensor cores. Lane l of the warp holds, with g = l / 4 and t = l % 4, of m16n8k8:
//   A: a0 (g, t), a1 (g + 8, t), a2 (g, t + 4), a3 (g + 8, t + 4)     B: b0 (t, g), b1 (t + 4, g)
//   C and D: c0 (g, 2t), c1 (g, 2t + 1), c2 (g + 8, 2t), c3 (g + 8, 2t + 1)
// and of m16n8k16 the same with pairs of columns 2t, 2t + 1 in place of t, and 8 in place of 4.

struct Fragment4 {
  std::uint32_t x[4];
};
struct Fragment2 {
  std::uint32_t x[2];
};

/// Four 8 x 8 matrices of 16-bit numbers: lane 8 i + r gives the address of row r of matrix i.
__device__ __forceinline__ Fragment4 ldmatrix_x4(const void* shared_row) {
  Fragment4 f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.x[0]), "=r"(f.x[1]), "=r"(f.x[2]), "=r"(f.x[3])
               : "r"(shared_address(shared_row))
               : "memory");
  return f;
}

/// Rounds to the nearest tf32, halfway cases away from zero, as a register of a fragment.
__device__ __forceinline__ std::uint32_t to_tf32(float x) {
  std::uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

/// a * b + c
__device__ __forceinline__ float4 mma_m16n8k8_tf32(Fragment4 a, Fragment2 b, float4 c) {
  float4 d;
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d.x), "=f"(d.y), "=f"(d.z), "=f"(d.w)
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]), "f"(c.x),
        "f"(c.y), "f"(c.z), "f"(c.w));
  return d;
}

/// a * b + c of bfloat16 pairs, the lower column in the lower half.
__device__ __forceinline__ float4 mma_m16n8k16_bf16(Fragment4 a, Fragment2 b, float4 c) {
  float4 d;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d.x), "=f"(d.y), "=f"(d.z), "=f"(d.w)
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]), "f"(c.x),
        "f"(c.y), "f"(c.z), "f"(c.w));
  return d;
}

// Flags in global memory, for the whole device.

/// What the writer of the value wrote before is seen by this thread after.
__device__ __forceinline__ std::uint32_t load_acquire(const std::uint32_t* flag) {
  std::uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(flag) : "memory");
  return v;
}

__device__ __forceinline__ void store_release(std::uint32_t* flag, std::uint32_t v) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(v) : "memory");
}

/// Adds, acquires and releases; returns what was there.
__device__ __forceinline__ std::uint32_t atomic_add_acq_rel(std::uint32_t* counter,
                                                            std::uint32_t v) {
  std::uint32_t old;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(old)
               : "l"(counter), "r"(v)
               : "memory");
  return old;
}

}  // namespace lora::inline v0::cuda::ptx

#endif
