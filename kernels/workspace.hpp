// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

// Scratch memory that the kernels of one stream use one after another; each kernel leaves it to the
// next. A training step must not allocate, so it is kept, and grows when an op needs more than any
// before it. A captured graph takes the workspace of the stream that it was captured in along, so
// it shares scratch memory with nothing that may run beside it.

namespace lora::inline v0::cuda {

struct Workspace {
  float* partials;     // undefined values; aligned to 256 bytes
  unsigned* arrivals;  // zeros, which a kernel has to leave behind
};

/// What the stream has for its next kernel. cudaErrorStreamCaptureUnsupported where it would have
/// to grow while the stream is captured; otherwise the errors of an allocation.
int reserve_workspace(std::size_t partials, std::size_t arrivals, void* stream,
                      Workspace* workspace);

/// The memory behind the workspace of a stream or of a graph. What was outgrown is kept with it: a
/// thread may be about to launch a kernel with the address.
struct WorkspaceMemory {
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  Block partials, arrivals;
  std::vector<void*> outgrown;
};

/// Gives a stream that is about to be captured as large a workspace as any stream has: ops that
/// have run before, wherever that was, will not have to grow it.
cudaError_t prepare_workspace(cudaStream_t stream);

/// What belonged to the stream no longer does.
WorkspaceMemory take_workspace(cudaStream_t stream) noexcept;

/// Freed when what is in `stream` has run.
void free_workspace(const WorkspaceMemory& memory, cudaStream_t stream) noexcept;

}  // namespace lora::inline v0::cuda
