// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <lora/device.hpp>

namespace lora::inline v0::detail {

inline void check_memory(const char* what, int code) {
  if (code != 0) throw DeviceError(std::string(what) + ": " + cuda_backend->error_text(code));
}

/// Copies between any two devices; returns when the bytes have arrived.
inline void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                       std::size_t bytes) {
  if (bytes == 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, bytes);
    return;
  }
  const CopyKind kind = to_device == Device::cpu     ? CopyKind::device_to_host
                        : from_device == Device::cpu ? CopyKind::host_to_device
                                                     : CopyKind::device_to_device;
  check_memory("copy", backend().copy(to, from, bytes, kind, current_stream));
}

/// A block of uninitialised memory on one device, aligned to a cache line. Move-only.
class Storage {
 public:
  static constexpr std::align_val_t kAlignment{64};

  Storage() = default;

  Storage(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
    if (device == Device::cuda) {
      const Backend& table = backend();
      if (bytes != 0) check_memory("allocate", table.allocate(&data_, bytes, current_stream));
    } else if (bytes != 0) {
      data_ = ::operator new(bytes, kAlignment);
    }
  }

  Storage(Storage&& other) noexcept { swap(other); }

  Storage& operator=(Storage&& other) noexcept {
    Storage(std::move(other)).swap(*this);
    return *this;
  }

  ~Storage() {
    if (!data_) return;
    if (device_ == Device::cpu) {
      ::operator delete(data_, kAlignment);
    } else {
      cuda_backend->release(data_, current_stream);
    }
  }

  void swap(Storage& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
  }

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
};

}  // namespace lora::inline v0::detail
