// SPDX-License-Identifier: MIT
// A part of the program where the CUDA kernels are built: including the header registers them.
#include <lora/cuda.hpp>
