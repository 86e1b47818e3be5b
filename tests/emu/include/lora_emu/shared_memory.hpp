// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace lora_emu {

/// One textual declaration of shared memory; its address is what tells it from others.
struct SharedSlot {
  const char* name;
  const char* file;
  int line;
  std::size_t bytes;
};

/// The memory of this slot in the block of the running thread: 0xFF bytes until written, with red
/// zones on both sides.
void* shared_memory(const SharedSlot& slot);
void* dynamic_shared_memory();

}  // namespace lora_emu
