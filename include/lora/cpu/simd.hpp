// SPDX-License-Identifier: MIT
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include <lora/error.hpp>

// One templated core on the compiler's vector extensions, compiled once for each instruction set
// through functions with a target attribute, and chosen once at run time: full speed without any
// -march flag. A core is a struct with
//     template <int Bytes> static LORA_ALWAYS_INLINE void run(args...);
// where Bytes is the width of a vector register. Vectors are passed by reference between functions,
// never by value: their calling convention would depend on the instruction set.

#define LORA_ALWAYS_INLINE __attribute__((always_inline)) inline
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

/// A vector register of `Bytes` bytes, and the same at any address in memory.
template <class T, int Bytes>
struct Simd {
  static constexpr int kWidth = Bytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(Bytes)));
  typedef T InMemory __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));

  static LORA_ALWAYS_INLINE const InMemory& at(const T* p) {
    return *reinterpret_cast<const InMemory*>(p);
  }
  static LORA_ALWAYS_INLINE InMemory& at(T* p) { return *reinterpret_cast<InMemory*>(p); }

  static LORA_ALWAYS_INLINE T sum(const Vector& v) {
    T total = 0;
    LORA_UNROLL
    for (int i = 0; i < kWidth; ++i) total += v[i];
    return total;
  }

  /// c = a * b + c with one rounding. The baseline has no such instruction and rounds twice.
  static LORA_ALWAYS_INLINE void fma(const Vector& a, const Vector& b, Vector& c) {
    if constexpr (Bytes == 16) {
      c = a * b + c;
    } else {
      LORA_UNROLL
      for (int i = 0; i < kWidth; ++i) {
        if constexpr (sizeof(T) == 4) {
          c[i] = __builtin_fmaf(a[i], b[i], c[i]);
        } else {
          c[i] = __builtin_fma(a[i], b[i], c[i]);
        }
      }
    }
  }

  /// The correctly rounded square root of each element. Not __builtin_sqrt, which must set errno
  /// and so is never vectorised.
  static LORA_ALWAYS_INLINE void sqrt(Vector& v) {
#if defined(__x86_64__) && !defined(__clang__)
    if constexpr (Bytes == 16 && sizeof(T) == 4) {
      asm("sqrtps %0, %0" : "+x"(v));
    } else if constexpr (Bytes == 16) {
      asm("sqrtpd %0, %0" : "+x"(v));
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
