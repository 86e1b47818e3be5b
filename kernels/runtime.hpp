// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include <lora/detail/backend.hpp>

// What a device does besides running kernels: memory, copies, streams, graphs, events, and saying
// why it is not there. The slots of the table (lora/detail/backend.hpp), which says what each of
// them does.

namespace lora::inline v0::cuda {

/// A code of CUDA's as the table returns it. CUDA also keeps the latest error for whoever asks;
/// nobody needs it after this, so it is taken back.
inline int code_of(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

inline cudaEvent_t as_event(void* event) { return static_cast<cudaEvent_t>(event); }
inline cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

/// Multiprocessors of the device, looked up once. 1 where CUDA cannot tell.
int multiprocessor_count() noexcept;

/// Works out anew why the device cannot be used; the empty string when it can.
std::string find_reason_unavailable();

const char* unavailable() noexcept;
const char* device_name() noexcept;
const char* error_text(int code) noexcept;

int allocate(void** memory, std::size_t bytes, void* stream);
void release(void* memory, void* stream) noexcept;
int allocate_pinned(void** memory, std::size_t bytes);
void release_pinned(void* memory) noexcept;
int copy(void* to, const void* from, std::size_t bytes, detail::CopyKind kind, void* stream);
int copy_from_pinned(void* to, const void* from, std::size_t bytes, void* stream);

int create_stream(void** stream);
void destroy_stream(void* stream) noexcept;
int synchronize(void* stream);
int begin_capture(void* stream);
int end_capture(void* stream, void** graph);
int launch_graph(void* graph, void* stream);
void destroy_graph(void* graph) noexcept;

int create_event(void** event, bool timing);
void destroy_event(void* event) noexcept;
int record_event(void* event, void* stream);
int query_event(void* event, bool* reached);
int synchronize_event(void* event);
int wait_event(void* stream, void* event);
int elapsed_time(void* start, void* end, float* milliseconds);

}  // namespace lora::inline v0::cuda
