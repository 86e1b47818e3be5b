// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
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
  cudaError_t last_error = cudaSuccess;
  std::string report;
};

Device& device();

/// Remembers an error for cudaGetLastError and returns it.
cudaError_t remember(cudaError_t error);

/// Whether some stream is being captured in a way that forbids what waits or allocates; such a
/// call spoils the capture.
bool forbidden_by_capture();

}  // namespace lora_emu
