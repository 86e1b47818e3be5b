// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>

namespace lora_emu {

enum class MemoryKind { kDevice, kPinned };

/// Memory of exactly this size, 0xFF bytes until written, with guard bytes or red zones around it.
void* allocate(std::size_t bytes, MemoryKind kind);

/// False where no block of this kind begins at `memory`.
bool free_memory(void* memory, MemoryKind kind);

/// Where the block of this kind begins that the address lies in; null where there is none.
const void* block_of(const void* memory, MemoryKind kind);

/// False where the bytes begin in a block of device memory and leave it.
bool stays_inside(const void* memory, std::size_t bytes);

/// Which guard bytes were written to; empty if none were.
std::string damaged_guards();

}  // namespace lora_emu
