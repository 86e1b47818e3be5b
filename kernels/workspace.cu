// SPDX-License-Identifier: MIT
#include "kernels/workspace.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/runtime.hpp"

namespace lora::inline v0::cuda {

namespace {

struct Block {
  void* data = nullptr;
  std::size_t bytes = 0;
};

struct Blocks {
  Block partials, arrivals;
};

constexpr std::size_t kFirstBytes = std::size_t{1} << 20;

/// Makes the block at least this large; a new one is full of zeros.
cudaError_t grow(Block& block, std::size_t bytes, cudaStream_t stream) {
  if (bytes <= block.bytes) return cudaSuccess;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (const cudaError_t error = cudaStreamIsCapturing(stream, &status); error != cudaSuccess) {
    return error;
  }
  if (status != cudaStreamCaptureStatusNone) return cudaErrorStreamCaptureUnsupported;
  const std::size_t size = std::max({bytes, 2 * block.bytes, kFirstBytes});
  void* data = nullptr;
  if (const cudaError_t error = cudaMalloc(&data, size); error != cudaSuccess) return error;
  if (const cudaError_t error = cudaMemsetAsync(data, 0, size, stream); error != cudaSuccess) {
    cudaFree(data);
    return error;
  }
  block = {data, size};
  return cudaSuccess;
}

}  // namespace

int reserve_workspace(std::size_t partials, std::size_t arrivals, void* stream,
                      Workspace* workspace) {
  static std::mutex mutex;
  static std::map<std::pair<int, void*>, Blocks> blocks_of_stream;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return code_of(error);
  const std::lock_guard lock(mutex);
  Blocks& blocks = blocks_of_stream[{device, stream}];
  cudaError_t error = grow(blocks.partials, partials * sizeof(float), as_stream(stream));
  if (error == cudaSuccess) {
    error = grow(blocks.arrivals, arrivals * sizeof(unsigned), as_stream(stream));
  }
  *workspace = {static_cast<float*>(blocks.partials.data),
                static_cast<unsigned*>(blocks.arrivals.data)};
  return code_of(error);
}

}  // namespace lora::inline v0::cuda
