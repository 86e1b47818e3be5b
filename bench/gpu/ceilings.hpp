// SPDX-License-Identifier: MIT
#pragma once

#include "gpu/timing.hpp"

namespace lora_bench {

struct Ceiling {
  Timing timing;
  double work;  // bytes or operations of a launch

  double rate() const { return timing.median > 0 ? work / timing.median : 0; }
};

/// What this GPU can do at best, which the results are set against.
struct Ceilings {
  Ceiling copy;    // device to device; bytes read and bytes written
  Ceiling read;    // bytes read, none written
  Ceiling matrix;  // cublasSgemm of 8192³; 0 without cuBLAS
  Timing node;     // of an empty kernel in a graph: the gap between two kernels
};

/// Measured, and checked, by the first call.
const Ceilings& ceilings();

}  // namespace lora_bench
