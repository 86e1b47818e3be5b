// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include <lora_emu/runtime_api.hpp>

namespace lora_emu {

/// The emulated machine and what tests have asked of it.
struct Device {
  std::uint64_t seed;
  int resident_blocks = 1;
  int sm_count = 4;
  cudaError_t failure = cudaSuccess;
  cudaError_t next_allocation = cudaSuccess;
  cudaError_t next_launch = cudaSuccess;
};

Device& device();

/// What the runtime remembers for each host thread. Work runs on the thread that asks for it, so
/// the latest report is its own too.
struct HostThread {
  cudaError_t last_error = cudaSuccess;
  std::string report;
};

HostThread& host_thread();

/// Host threads take turns, those that run kernels as well.
class ApiLock {
 public:
  ApiLock() : lock_(mutex()) {}

 private:
  static std::recursive_mutex& mutex();

  std::lock_guard<std::recursive_mutex> lock_;
};

/// Remembers an error for cudaGetLastError and returns it.
cudaError_t remember(cudaError_t error);

/// Whether some stream is being captured in a way that forbids what waits or allocates; such a
/// call spoils the capture.
bool forbidden_by_capture();

}  // namespace lora_emu
