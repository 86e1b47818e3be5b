// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <lora/cpu/simd.hpp>
#include <lora/io/float_formats.hpp>

// The floating-point types of weight files, a vector at a time, at any address. A type says what
// it is computed with: the next wider one that there are instructions for, so that a result is
// rounded once. `kOverflow` is the smallest number of that wider type that rounds to infinity.

namespace lora::inline v0::cpu {

namespace detail {

/// As many integers or numbers as S has elements, at any address.
template <class S, class Element>
struct Packed {
  static constexpr int kBytes = S::kWidth * static_cast<int>(sizeof(Element));
  typedef Element Vector __attribute__((vector_size(kBytes)));
  typedef Element InMemory __attribute__((vector_size(kBytes), aligned(1), may_alias));

  static LORA_ALWAYS_INLINE const InMemory* at(const std::byte* p) {
    return reinterpret_cast<const InMemory*>(p);
  }
  static LORA_ALWAYS_INLINE InMemory* at(std::byte* p) { return reinterpret_cast<InMemory*>(p); }
};

/// mask ? a : b, of integers; the mask is what a comparison gives.
template <class Bits>
LORA_ALWAYS_INLINE void select_bits(const Bits& mask, const Bits& a, const Bits& b, Bits& result) {
  result = (a & mask) | (b & ~mask);
}

template <class S>
LORA_ALWAYS_INLINE void load_half_words(const std::byte* from, typename S::Bits& bits) {
  bits = __builtin_convertvector(*Packed<S, std::uint16_t>::at(from), typename S::Bits);
}

template <class S>
LORA_ALWAYS_INLINE void store_half_words(const typename S::Bits& bits, std::byte* to) {
  using Words = Packed<S, std::uint16_t>;
  *Words::at(to) = __builtin_convertvector(bits, typename Words::Vector);
}

}  // namespace detail

struct StoredBf16 {
  using Wide = float;
  static constexpr std::size_t kBytes = 2;
  static constexpr Wide kOverflow = 0x1.FFp127f;

  static float read(const std::byte* from) {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return bf16_to_float(bits);
  }

  template <class S>
  static LORA_ALWAYS_INLINE void load(const std::byte* from, typename S::Vector& v) {
    typename S::Bits bits;
    detail::load_half_words<S>(from, bits);
    v = reinterpret_cast<typename S::Vector>(bits << 16);
  }

  template <class S>
  static LORA_ALWAYS_INLINE void store(const typename S::Vector& v, std::byte* to) {
    using Bits = typename S::Bits;
    const Bits bits = reinterpret_cast<Bits>(v);
    const Bits is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    Bits rounded;
    detail::select_bits<Bits>(is_nan, bits | 0x00400000, bits + 0x7FFF + ((bits >> 16) & 1),
                              rounded);
    detail::store_half_words<S>((rounded >> 16) & 0xFFFF, to);
  }
};

struct StoredF16 {
  using Wide = float;
  static constexpr std::size_t kBytes = 2;
  static constexpr Wide kOverflow = 65520;

  static float read(const std::byte* from) {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return f16_to_float(bits);
  }

  // f16_to_float and float_to_f16, vector by vector.
  template <class S>
  static LORA_ALWAYS_INLINE void load(const std::byte* from, typename S::Vector& v) {
    using Bits = typename S::Bits;
    using V = typename S::Vector;
    Bits bits;
    detail::load_half_words<S>(from, bits);
    const Bits magnitude = bits & 0x7FFF;
    const Bits special = (magnitude >= 0x7C00) & (0x7F800000 - (143 << 23));
    const Bits normal = (magnitude << 13) + (112 << 23) + special;
    const V tiny = __builtin_convertvector(magnitude, V) * 0x1p-24f;
    Bits result;
    detail::select_bits<Bits>(magnitude < 0x0400, reinterpret_cast<Bits>(tiny), normal, result);
    v = reinterpret_cast<V>(result | ((bits & 0x8000) << 16));
  }

  template <class S>
  static LORA_ALWAYS_INLINE void store(const typename S::Vector& v, std::byte* to) {
    using Bits = typename S::Bits;
    using V = typename S::Vector;
    const Bits bits = reinterpret_cast<Bits>(v);
    const Bits magnitude = bits & 0x7FFFFFFF;
    const Bits rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
    const Bits normal = (rounded - (112 << 23)) >> 13;
    const V shifted = reinterpret_cast<V>(magnitude) + 0.5f;
    const Bits tiny = reinterpret_cast<Bits>(shifted) - 0x3F000000;
    Bits result;
    detail::select_bits<Bits>(magnitude < (113 << 23), tiny, normal, result);
    detail::select_bits<Bits>(magnitude >= 0x477FF000, Bits{} + 0x7C00, result, result);
    detail::select_bits<Bits>(magnitude > 0x7F800000, Bits{} + 0x7E00, result, result);
    detail::store_half_words<S>(result | ((bits >> 16) & 0x8000), to);
  }
};

/// A number as the processor has it, computed with as a `Computed`.
template <class Element, class Computed>
struct StoredNumber {
  using Wide = Computed;
  static constexpr std::size_t kBytes = sizeof(Element);
  static constexpr Wide kOverflow = sizeof(Element) < sizeof(Wide)
                                        ? static_cast<Wide>(0x1.FFFFFFp127)
                                        : static_cast<Wide>(__builtin_huge_val());

  static Wide read(const std::byte* from) {
    Element value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  template <class S>
  static LORA_ALWAYS_INLINE void load(const std::byte* from, typename S::Vector& v) {
    v = __builtin_convertvector(*detail::Packed<S, Element>::at(from), typename S::Vector);
  }

  template <class S>
  static LORA_ALWAYS_INLINE void store(const typename S::Vector& v, std::byte* to) {
    using Elements = detail::Packed<S, Element>;
    *Elements::at(to) = __builtin_convertvector(v, typename Elements::Vector);
  }
};

using StoredF32 = StoredNumber<float, double>;
using StoredF64 = StoredNumber<double, double>;

}  // namespace lora::inline v0::cpu
