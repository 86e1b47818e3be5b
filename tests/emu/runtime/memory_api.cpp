// SPDX-License-Identifier: MIT
#include <cstring>
#include <utility>

#include <lora_emu/runtime_api.hpp>

#include "device.hpp"
#include "memory.hpp"
#include "stream.hpp"

namespace lora_emu {

struct MemoryPool {};

namespace {

cudaError_t allocate_for(void** memory, std::size_t bytes, MemoryKind kind) {
  *memory = nullptr;
  if (device().failure != cudaSuccess) return remember(device().failure);
  const ApiLock lock;
  const cudaError_t planned = std::exchange(device().next_allocation, cudaSuccess);
  if (planned != cudaSuccess) return remember(planned);
  if (bytes == 0) return cudaSuccess;
  *memory = allocate(bytes, kind);
  return remember(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t allocate_now(void** memory, std::size_t bytes, MemoryKind kind) {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  return allocate_for(memory, bytes, kind);
}

cudaError_t free_checked(void* memory, MemoryKind kind) {
  if (!memory) return cudaSuccess;
  std::string damage = damaged_guards();
  if (!free_memory(memory, kind)) return remember(cudaErrorInvalidValue);
  if (damage.empty()) return cudaSuccess;
  host_thread().report = std::move(damage);
  return remember(cudaErrorLaunchFailure);
}

cudaError_t free_now(void* memory, MemoryKind kind) {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  if (kind == MemoryKind::kDevice) land_copies(nullptr);
  if (kind == MemoryKind::kPinned && memory && is_awaited(memory)) {
    host_thread().report = "pinned memory was freed that a copy still has to read";
    return remember(cudaErrorLaunchFailure);
  }
  return free_checked(memory, kind);
}

cudaError_t spoil(cudaStream_t stream) {
  stream->capture->spoilt = true;
  return remember(cudaErrorStreamCaptureUnsupported);
}

}  // namespace

}  // namespace lora_emu

using namespace lora_emu;

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return allocate_now(memory, bytes, MemoryKind::kDevice);
}
cudaError_t cudaFree(void* memory) { return free_now(memory, MemoryKind::kDevice); }

cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t stream) {
  if (is_capturing(stream)) return spoil(stream);
  return allocate_for(memory, bytes, MemoryKind::kDevice);
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  if (is_capturing(stream)) return spoil(stream);
  land_copies(stream);
  return free_checked(memory, MemoryKind::kDevice);
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return allocate_now(memory, bytes, MemoryKind::kPinned);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate_now(memory, bytes, MemoryKind::kPinned);
}
cudaError_t cudaFreeHost(void* memory) { return free_now(memory, MemoryKind::kPinned); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!to || !from || !stays_inside(to, bytes) || !stays_inside(from, bytes)) {
    return remember(cudaErrorInvalidValue);
  }
  if (block_of(from, MemoryKind::kPinned) && block_of(to, MemoryKind::kDevice)) {
    return submit_late(stream, {to, from, bytes});
  }
  return submit(stream, [=] {
    std::memmove(to, from, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!memory || !stays_inside(memory, bytes)) return remember(cudaErrorInvalidValue);
  return submit(stream, [=] {
    std::memset(memory, value, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  if (forbidden_by_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int index) {
  static MemoryPool default_pool;
  *pool = &default_pool;
  return remember(index == 0 ? device().failure : cudaErrorInvalidDevice);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
