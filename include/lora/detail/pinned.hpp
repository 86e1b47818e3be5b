// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include <lora/detail/backend.hpp>
#include <lora/detail/storage.hpp>
#include <lora/device.hpp>

namespace lora::inline v0::detail {

/// Host memory for `count` numbers that the GPU can write to; what it wrote can be read once the
/// stream has been waited for. Not set to anything.
template <class T>
class PinnedMemory {
 public:
  explicit PinnedMemory(std::size_t count) : release_(backend().release_pinned) {
    void* memory = nullptr;
    check_memory("allocate", backend().allocate_pinned(&memory, count * sizeof(T)));
    data_ = static_cast<T*>(memory);
  }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { release_(data_); }

  T* data() const noexcept { return data_; }

 private:
  T* data_;
  void (*release_)(void*) noexcept;
};

}  // namespace lora::inline v0::detail
