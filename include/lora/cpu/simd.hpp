// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <lora/error.hpp>

// One templated core on the compiler's vector extensions, compiled once for each instruction set
// through functions with a target attribute, and chosen once at run time: full speed without any
// -march flag. A core is a struct with
//     template <int Bytes> static LORA_ALWAYS_INLINE void run(args...);
// where Bytes is the width of a vector register. Vectors are passed by reference between functions,
// never by value: their calling convention would depend on the instruction set.

#define LORA_ALWAYS_INLINE __attribute__((always_inline)) inline
#define LORA_INLINE_LAMBDA __attribute__((always_inline))
#define LORA_NEVER_INLINE __attribute__((noinline))
#define LORA_UNROLL _Pragma("GCC unroll 16")

#if defined(__x86_64__)
#define LORA_TARGET_AVX2 __attribute__((target("avx2,fma")))
#if defined(__clang__)
#define LORA_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#else
#define LORA_TARGET_AVX512 \
  __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")))
#endif
#endif

namespace lora::inline v0::cpu {

/// The instruction sets the cores are compiled for; `baseline` is what the compiler's flags allow.
enum class Isa { baseline, avx2, avx512 };

inline const char* to_string(Isa isa) noexcept {
  return isa == Isa::baseline ? "baseline" : isa == Isa::avx2 ? "avx2" : "avx512";
}

/// The best instruction set of this processor.
inline Isa detect_isa() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
    return Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

/// What LORA_ISA asks for, held against what the processor has. Null or empty: the best there is.
/// Throws ValueError on an unknown name or an instruction set that is not there.
inline Isa choose_isa(const char* wanted, Isa best) {
  if (!wanted || !*wanted) return best;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::string_view(wanted) != to_string(isa)) continue;
    if (isa <= best) return isa;
    throw ValueError(std::string("LORA_ISA=") + wanted + ": this processor has only " +
                     to_string(best));
  }
  throw ValueError(std::string("LORA_ISA=") + wanted + ": expected baseline, avx2 or avx512");
}

/// The instruction set in use, chosen at the first call: the best one, or what the environment
/// variable LORA_ISA names.
inline Isa isa() {
  static const Isa chosen = choose_isa(std::getenv("LORA_ISA"), detect_isa());
  return chosen;
}

/// A vector register of `Bytes` bytes, and the same at any address in memory. `Fused` says whether
/// there is an instruction that multiplies and adds with one rounding: a narrow vector in a core
/// for wide ones must round as they do.
template <class T, int Bytes, bool Fused = (Bytes > 16)>
struct Simd {
  static constexpr int kWidth = Bytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(Bytes)));
  typedef T InMemory __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Integer Bits __attribute__((vector_size(Bytes), may_alias));

  /// A pointer, not a reference: clang takes for aligned what a function returns a reference to.
  static LORA_ALWAYS_INLINE const InMemory* at(const T* p) {
    return reinterpret_cast<const InMemory*>(p);
  }
  static LORA_ALWAYS_INLINE InMemory* at(T* p) { return reinterpret_cast<InMemory*>(p); }

  /// Asks for the memory some iterations ahead of `p`, to be written to. Where a loop computes as
  /// long as memory takes, the processor looks no further ahead than that, and the two would add
  /// up.
  static LORA_ALWAYS_INLINE void prefetch_ahead(T* p) {
    __builtin_prefetch(reinterpret_cast<const char*>(p) + 512, 1);
  }

  /// The sum of the elements: halves are added until one element is left.
  static LORA_ALWAYS_INLINE T sum(const Vector& v) {
    if constexpr (kWidth == 2) {
      return v[0] + v[1];
    } else {
      typename Half::Vector half;
      fold(v, half, std::make_index_sequence<kWidth / 2>{});
      return Half::sum(half);
    }
  }

  /// The sums of the elements of four vectors, side by side in `sums`.
  static LORA_ALWAYS_INLINE void sum4(const Vector& a, const Vector& b, const Vector& c,
                                      const Vector& d, T* sums) {
    if constexpr (kWidth > 4) {
      constexpr std::make_index_sequence<kWidth / 2> indices;
      typename Half::Vector half_a, half_b, half_c, half_d;
      fold(a, half_a, indices);
      fold(b, half_b, indices);
      fold(c, half_c, indices);
      fold(d, half_d, indices);
      Half::sum4(half_a, half_b, half_c, half_d, sums);
    } else if constexpr (kWidth == 4) {
      const Vector ab =
          __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Vector cd =
          __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
      *at(sums) =
          __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    } else {
      sums[0] = sum(a);
      sums[1] = sum(b);
      sums[2] = sum(c);
      sums[3] = sum(d);
    }
  }

  /// Makes all but the last `count` elements zero, 0 <= count <= kWidth.
  static LORA_ALWAYS_INLINE void keep_last(Vector& v, std::int64_t count) {
    Bits keep{};
    LORA_UNROLL
    for (int i = 0; i < kWidth; ++i) keep[i] = i;
    keep = keep >= static_cast<Integer>(kWidth - count);
    v = reinterpret_cast<Vector>(reinterpret_cast<Bits>(v) & keep);
  }

  /// result = mask ? a : b in each element; the mask is what a comparison of vectors gives.
  static LORA_ALWAYS_INLINE void select(const Bits& mask, const Vector& a, const Vector& b,
                                        Vector& result) {
    result = reinterpret_cast<Vector>((reinterpret_cast<Bits>(a) & mask) |
                                      (reinterpret_cast<Bits>(b) & ~mask));
  }

  /// c = a * b + c with one rounding. The baseline has no such instruction and rounds twice.
  static LORA_ALWAYS_INLINE void fma(const Vector& a, const Vector& b, Vector& c) {
    if constexpr (!Fused) {
      c = a * b + c;
    } else {
      LORA_UNROLL
      for (int i = 0; i < kWidth; ++i) c[i] = fma_once(a[i], b[i], c[i]);
#if defined(__x86_64__) && !defined(__clang__)
      // Where a branch is near, GCC would take vectors apart: Adam ran at a quarter of its speed.
      asm("" : "+v"(c));
#endif
    }
  }

  /// The same for one element, so that what stands behind the last whole vector is rounded as in
  /// it.
  static LORA_ALWAYS_INLINE void fma(T a, T b, T& c) {
    if constexpr (!Fused) {
      c = a * b + c;
    } else {
      c = fma_once(a, b, c);
    }
  }

  /// The correctly rounded square root of each element. Not __builtin_sqrt, which must set errno
  /// and so is never vectorised.
  static LORA_ALWAYS_INLINE void sqrt(Vector& v) {
#if defined(__x86_64__) && !defined(__clang__)
    if constexpr (Bytes == 16 && sizeof(T) == 4) {
      v = __builtin_ia32_sqrtps(v);
    } else if constexpr (Bytes == 16) {
      v = __builtin_ia32_sqrtpd(v);
    } else if constexpr (sizeof(T) == 4) {
      asm("vsqrtps %0, %0" : "+v"(v));
    } else {
      asm("vsqrtpd %0, %0" : "+v"(v));
    }
#else
    LORA_UNROLL
    for (int i = 0; i < kWidth; ++i) {
      if constexpr (sizeof(T) == 4) {
        v[i] = __builtin_sqrtf(v[i]);
      } else {
        v[i] = __builtin_sqrt(v[i]);
      }
    }
#endif
  }

 private:
  static LORA_ALWAYS_INLINE float fma_once(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
  }
  static LORA_ALWAYS_INLINE double fma_once(double a, double b, double c) {
    return __builtin_fma(a, b, c);
  }

  using Half = Simd<T, (kWidth > 2 ? Bytes / 2 : Bytes), Fused>;

  template <std::size_t... I>
  static LORA_ALWAYS_INLINE void fold(const Vector& v, typename Half::Vector& half,
                                      std::index_sequence<I...>) {
    half = __builtin_shufflevector(v, v, I...) + __builtin_shufflevector(v, v, (I + kWidth / 2)...);
  }
};

#if defined(__x86_64__)
template <class Core, class... Args>
LORA_TARGET_AVX2 void run_avx2(const Args&... args) {
  Core::template run<32>(args...);
}

template <class Core, class... Args>
LORA_TARGET_AVX512 void run_avx512(const Args&... args) {
  Core::template run<64>(args...);
}
#endif

template <class Core, class... Args>
void run_baseline(const Args&... args) {
  Core::template run<16>(args...);
}

/// Runs a core, out of line, from within one for vectors of as many bytes.
template <class Core, int Bytes, class... Args>
LORA_ALWAYS_INLINE void run_within(const Args&... args) {
#if defined(__x86_64__)
  if constexpr (Bytes == 64) return run_avx512<Core>(args...);
  if constexpr (Bytes == 32) return run_avx2<Core>(args...);
#endif
  run_baseline<Core>(args...);
}

/// Runs a core with the instruction set in use.
template <class Core, class... Args>
void run_simd(const Args&... args) {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return run_avx512<Core>(args...);
  if (isa() == Isa::avx2) return run_avx2<Core>(args...);
#endif
  run_baseline<Core>(args...);
}

}  // namespace lora::inline v0::cpu
