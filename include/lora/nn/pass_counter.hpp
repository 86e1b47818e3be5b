// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <lora/nn/module.hpp>

namespace lora::inline v0::detail {

/// Gives each forward pass of a layer other random numbers: a layer that draws some has one, and
/// moves and copies it with itself. Counts also from several threads.
class PassCounter {
 public:
  PassCounter() = default;
  PassCounter(const PassCounter& other) noexcept : passes_(other.passes_.load()) {}
  PassCounter& operator=(const PassCounter& other) noexcept {
    passes_ = other.passes_.load();
    return *this;
  }

  /// Sets saved.random_offset to the number of passes before this one, unless the pass repeats.
  template <class T>
  void count(Saved<T>& saved) {
    if (saved.repeats) return;
    saved.random_offset = passes_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> passes_{0};
};

}  // namespace lora::inline v0::detail
