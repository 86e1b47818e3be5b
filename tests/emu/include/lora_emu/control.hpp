// SPDX-License-Identifier: MIT
#pragma once

// What tests may ask of the emulator beyond CUDA.

#include <cstdint>
#include <string>

#include <lora_emu/runtime_api.hpp>

namespace lora_emu {

/// Orders of threads and blocks follow from the seed: 1, or LORA_EMU_SEED in the environment.
void set_seed(std::uint64_t seed);
std::uint64_t seed();

/// How many blocks begin together. The default, 1, begins another block only when those alive
/// spin, up to what the emulated multiprocessors hold.
void set_resident_blocks(int blocks);

/// Multiprocessors of the emulated device: 4 unless set.
void set_sm_count(int count);

/// While not cudaSuccess: what cudaGetDeviceCount and everything that needs a device return.
void set_device_failure(cudaError_t error);

/// The next allocation, or the next launch, fails once with this error.
void fail_next_allocation(cudaError_t error);
void fail_next_launch(cudaError_t error);

/// Why the latest launch that failed did. Empty: none has.
std::string last_report();

/// How many blocks of device and pinned memory are out.
std::size_t live_allocations();

enum class Sanitizer { kNone, kAddress, kThread };

/// The sanitizer this program is linked with.
Sanitizer sanitizer();

}  // namespace lora_emu
