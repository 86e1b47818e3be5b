// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

// Scratch memory that the kernels of one stream use one after another. A training step must not
// allocate, so it is kept: it grows when an op needs more than any before it, and a captured step
// finds it there because the step ran before, outside the capture. What it had before growing is
// not freed, since graphs that were captured then still write to it; it grows at least twofold, so
// that adds up to less than what is in use.

namespace lora::inline v0::cuda {

struct Workspace {
  float* partials;     // undefined values; aligned to 256 bytes
  unsigned* arrivals;  // zeros, which a kernel has to leave behind
};

/// What the stream has for its next kernel. cudaErrorStreamCaptureUnsupported where it would have
/// to grow while the stream is captured; otherwise the errors of an allocation.
int reserve_workspace(std::size_t partials, std::size_t arrivals, void* stream,
                      Workspace* workspace);

}  // namespace lora::inline v0::cuda
