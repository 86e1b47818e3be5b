// SPDX-License-Identifier: MIT
#include "kernels/workspace.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/runtime.hpp"

namespace lora::inline v0::cuda {

namespace {

using Block = WorkspaceMemory::Block;

constexpr std::size_t kFirstBytes = std::size_t{1} << 20;

/// The workspaces of all streams. A stream is known by its device and its handle; null is the
/// device's default stream.
struct Registry {
  using Key = std::pair<int, cudaStream_t>;

  std::mutex mutex;
  std::map<Key, WorkspaceMemory> of_stream;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

cudaError_t key_of(cudaStream_t stream, Registry::Key* key) {
  key->second = stream;
  return cudaGetDevice(&key->first);
}

/// Makes the block at least this large; a new one is full of zeros. At least twofold, so that what
/// is outgrown adds up to less than what is in use.
cudaError_t grow(Block& block, std::vector<void*>& outgrown, std::size_t bytes,
                 cudaStream_t stream) {
  if (bytes <= block.bytes) return cudaSuccess;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (const cudaError_t error = cudaStreamIsCapturing(stream, &status)) return error;
  if (status != cudaStreamCaptureStatusNone) return cudaErrorStreamCaptureUnsupported;
  const std::size_t size = std::max({bytes, 2 * block.bytes, kFirstBytes});
  void* data = nullptr;
  if (const cudaError_t error = cudaMallocAsync(&data, size, stream)) return error;
  if (const cudaError_t error = cudaMemsetAsync(data, 0, size, stream)) {
    code_of(cudaFreeAsync(data, stream));
    return error;
  }
  if (block.data) outgrown.push_back(block.data);
  block = {data, size};
  return cudaSuccess;
}

cudaError_t grow(WorkspaceMemory& memory, std::size_t partial_bytes, std::size_t arrival_bytes,
                 cudaStream_t stream) {
  const cudaError_t error = grow(memory.partials, memory.outgrown, partial_bytes, stream);
  return error ? error : grow(memory.arrivals, memory.outgrown, arrival_bytes, stream);
}

}  // namespace

int reserve_workspace(std::size_t partials, std::size_t arrivals, void* stream,
                      Workspace* workspace) {
  Registry::Key key;
  if (const cudaError_t error = key_of(as_stream(stream), &key)) return code_of(error);
  const std::lock_guard lock(registry().mutex);
  WorkspaceMemory& memory = registry().of_stream[key];
  const cudaError_t error =
      grow(memory, partials * sizeof(float), arrivals * sizeof(unsigned), as_stream(stream));
  *workspace = {static_cast<float*>(memory.partials.data),
                static_cast<unsigned*>(memory.arrivals.data)};
  return code_of(error);
}

cudaError_t prepare_workspace(cudaStream_t stream) {
  Registry::Key key;
  if (const cudaError_t error = key_of(stream, &key)) return error;
  const std::lock_guard lock(registry().mutex);
  std::size_t partial_bytes = 0;
  std::size_t arrival_bytes = 0;
  for (const auto& [other, memory] : registry().of_stream) {
    if (other.first != key.first) continue;
    partial_bytes = std::max(partial_bytes, memory.partials.bytes);
    arrival_bytes = std::max(arrival_bytes, memory.arrivals.bytes);
  }
  const cudaError_t error = grow(registry().of_stream[key], partial_bytes, arrival_bytes, stream);
  // The graph may be launched in another stream, which would not wait for the zeros.
  return error ? error : cudaStreamSynchronize(stream);
}

WorkspaceMemory take_workspace(cudaStream_t stream) noexcept {
  Registry::Key key;
  if (code_of(key_of(stream, &key)) != 0) return {};
  const std::lock_guard lock(registry().mutex);
  auto node = registry().of_stream.extract(key);
  return node ? std::move(node.mapped()) : WorkspaceMemory{};
}

void free_workspace(const WorkspaceMemory& memory, cudaStream_t stream) noexcept {
  for (void* data : memory.outgrown) code_of(cudaFreeAsync(data, stream));
  for (void* data : {memory.partials.data, memory.arrivals.data}) {
    if (data) code_of(cudaFreeAsync(data, stream));
  }
}

}  // namespace lora::inline v0::cuda
