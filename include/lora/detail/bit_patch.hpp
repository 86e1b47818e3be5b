// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace lora::inline v0::detail {

/// What turns one array of floating-point numbers into another that is nearly the same, to the bit.
/// Two bytes for each number that differs by a few units in the last place, nothing for one that
/// does not: the gap to the one before and the difference, in bytes of seven bits.
template <class T>
class BitPatch {
 public:
  BitPatch() = default;

  /// Appends what turns from[i] into to[i]. Arrays are appended, and applied, one after the other.
  void append(std::span<const T> from, std::span<const T> to) {
    for (std::size_t i = 0; i < from.size(); ++i, ++gap_) {
      const std::uint64_t difference = ordered(to[i]) - ordered(from[i]);
      if (difference == 0) continue;
      put(gap_);
      put((difference << 1) ^ (difference >> 63 ? ~std::uint64_t{0} : 0));
      gap_ = 0;
    }
  }

  /// Applies the whole patch to the arrays it was made of, as one.
  void apply(std::span<T> values) const {
    std::size_t at = 0;
    std::uint64_t gap = 0;
    std::uint64_t code = 0;
    for (const std::uint8_t* next = bytes_.data(); next != bytes_.data() + bytes_.size();) {
      next = get(next, gap);
      next = get(next, code);
      at += gap;
      values[at] = number(ordered(values[at]) + ((code >> 1) ^ (code & 1 ? ~std::uint64_t{0} : 0)));
    }
  }

  std::size_t bytes() const noexcept { return bytes_.size(); }

 private:
  using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  static constexpr Bits kMagnitude = static_cast<Bits>(~std::uint64_t{0} >> (65 - 8 * sizeof(T)));

  // The numbers in their order, -0 before 0, so that neighbours differ by one.
  static std::uint64_t ordered(T value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof(T));
    return static_cast<std::uint64_t>(std::int64_t{bits >= 0 ? bits : ~(bits & kMagnitude)});
  }
  static T number(std::uint64_t ordered) {
    const auto place = static_cast<Bits>(ordered);
    const Bits bits = place >= 0 ? place : static_cast<Bits>(~place | ~kMagnitude);
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
  }

  void put(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_.push_back(static_cast<std::uint8_t>(value | 128));
    bytes_.push_back(static_cast<std::uint8_t>(value));
  }
  static const std::uint8_t* get(const std::uint8_t* from, std::uint64_t& value) {
    value = 0;
    int shift = 0;
    for (; *from >= 128; shift += 7) value |= std::uint64_t{*from++ & 127u} << shift;
    value |= std::uint64_t{*from} << shift;
    return from + 1;
  }

  std::vector<std::uint8_t> bytes_;
  std::uint64_t gap_ = 0;
};

}  // namespace lora::inline v0::detail
