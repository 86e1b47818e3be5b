// SPDX-License-Identifier: MIT
#pragma once

// Stands where NVIDIA's header of this name stands under nvcc: the language that kernels are
// written in and the runtime that they are launched with, on the CPU.

#include <lora_emu/atomic.hpp>
#include <lora_emu/math.hpp>
#include <lora_emu/runtime_api.hpp>
#include <lora_emu/thread.hpp>
#include <lora_emu/vector_types.hpp>
#include <lora_emu/warp.hpp>
