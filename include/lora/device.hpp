// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/detail/backend.hpp>
#include <lora/error.hpp>

namespace lora::inline v0 {

/// Where a tensor's memory lies. A field of the tensor, chosen at run time.
enum class Device : unsigned char { cpu, cuda };

inline const char* to_string(Device device) noexcept {
  return device == Device::cpu ? "cpu" : "cuda";
}

/// The empty string when `device` can be used, else one sentence that says why it cannot.
inline std::string why_unavailable(Device device) {
  if (device == Device::cpu) return {};
  if (!detail::cuda_backend) {
    return "device cuda is not there: this program was built without the kernel library lora::cuda";
  }
  const char* reason = detail::cuda_backend->unavailable();
  return reason ? reason : "";
}

inline bool is_available(Device device) { return why_unavailable(device).empty(); }

/// Device::cuda where it is linked and usable, else Device::cpu.
inline Device best_device() { return is_available(Device::cuda) ? Device::cuda : Device::cpu; }

namespace detail {

/// The table of the CUDA library. Throws DeviceError with the reason when there is none to use.
inline const Backend& backend() {
  if (const std::string reason = why_unavailable(Device::cuda); !reason.empty()) {
    throw DeviceError(reason);
  }
  return *cuda_backend;
}

}  // namespace detail
}  // namespace lora::inline v0
