// SPDX-License-Identifier: MIT
#pragma once

#include "scheduler.hpp"

namespace lora_emu {

/// Checks the copy and spoils its destination.
void begin_copy(const AsyncCopy& copy, void* call_pc);

/// Brings the bytes, as they are at the source now.
void land(const AsyncCopy& copy, void* call_pc);

}  // namespace lora_emu
