// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <limits>

namespace lora::inline v0::detail {

/// A size that is computed from numbers nobody vouches for. A step beyond 64 bits is remembered, so
/// that one question at the end, fits(), covers every step: what wraps is never taken for small.
class CheckedSize {
 public:
  constexpr CheckedSize(std::uint64_t value) : value_(value) {}

  /// What fits nowhere.
  static constexpr CheckedSize impossible() { return CheckedSize(kMax) + CheckedSize(1); }

  friend constexpr CheckedSize operator+(CheckedSize a, CheckedSize b) {
    a.overflow_ = a.overflow_ || b.overflow_ || a.value_ > kMax - b.value_;
    a.value_ += b.value_;
    return a;
  }

  friend constexpr CheckedSize operator*(CheckedSize a, CheckedSize b) {
    a.overflow_ = a.overflow_ || b.overflow_ || (b.value_ != 0 && a.value_ > kMax / b.value_);
    a.value_ *= b.value_;
    return a;
  }

  /// The next multiple of `unit`, a power of two.
  constexpr CheckedSize rounded_up(std::uint64_t unit) const {
    CheckedSize sum = *this + CheckedSize(unit - 1);
    sum.value_ &= ~(unit - 1);
    return sum;
  }

  constexpr bool fits(std::uint64_t limit = kMax) const { return !overflow_ && value_ <= limit; }

  /// Means something only where fits() is true.
  constexpr std::uint64_t value() const { return value_; }

 private:
  static constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t value_;
  bool overflow_ = false;
};

}  // namespace lora::inline v0::detail
