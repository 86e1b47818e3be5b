// SPDX-License-Identifier: MIT
#include "kernels/runtime.hpp"

#include <cstdint>
#include <cstdio>
#include <new>
#include <utility>

#include "kernels/cublas.hpp"
#include "kernels/device/compat.cuh"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

// Asks the driver whether this library holds a program for the device, which is the only list of
// architectures that cannot be out of step with what was built.
__global__ void probe_kernel() {}

/// What stands behind the handle of a graph.
struct CapturedGraph {
  cudaGraphExec_t executable;
  WorkspaceMemory workspace;
};

/// "13.0" of 13000
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string text_of(cudaError_t error) { return error_text(static_cast<int>(error)); }

std::string reason_without_driver() {
  int driver = 0;
  int runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "this machine has no NVIDIA driver";
  }
  cudaRuntimeGetVersion(&runtime);
  return "the NVIDIA driver is too old: the kernels need one for CUDA " + version_text(runtime) +
         ", this one has CUDA " + version_text(driver);
}

std::string reason_without_program() {
  std::string reason = "the kernels were not built for the GPU of this machine";
  cudaDeviceProp device{};
  if (cudaGetDeviceProperties(&device, 0) == cudaSuccess) {
    reason += std::string(", ") + device.name + " of compute capability " +
              std::to_string(device.major) + "." + std::to_string(device.minor);
  }
  return reason;
}

/// Memory that was released stays in the pool: a training step allocates what the last one did.
cudaError_t keep_released_memory() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  std::uint64_t everything = UINT64_MAX;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetDefaultMemPool(&pool, device);
  if (error == cudaSuccess) {
    error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything);
  }
  return error;
}

cudaError_t run_probe() {
  const cudaError_t error = launch(probe_kernel, LaunchConfig{1, 1});
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t capture_status(cudaStream_t stream, bool* capturing) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  // The default stream cannot be captured.
  const cudaError_t error = stream ? cudaStreamIsCapturing(stream, &status) : cudaSuccess;
  *capturing = status != cudaStreamCaptureStatusNone;
  return error;
}

cudaMemcpyKind memcpy_kind(detail::CopyKind kind) {
  switch (kind) {
    case detail::CopyKind::host_to_device:
      return cudaMemcpyHostToDevice;
    case detail::CopyKind::device_to_host:
      return cudaMemcpyDeviceToHost;
    case detail::CopyKind::device_to_device:
      break;
  }
  return cudaMemcpyDeviceToDevice;
}

}  // namespace

int multiprocessor_count() noexcept {
  static const int count = [] {
    int device = 0;
    int multiprocessors = 1;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) {
      error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    }
    return code_of(error) == 0 && multiprocessors > 0 ? multiprocessors : 1;
  }();
  return count;
}

std::string find_reason_unavailable() {
  const std::string start = "device cuda is not there: ";
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices == 0) error = cudaErrorNoDevice;
  if (error == cudaSuccess) error = run_probe();
  if (error == cudaSuccess) error = keep_released_memory();
  code_of(error);
  switch (error) {
    case cudaSuccess: {
      const std::string reason = reason_without_gemm();
      return reason.empty() ? reason : start + reason;
    }
    case cudaErrorInsufficientDriver:
      return start + reason_without_driver();
    case cudaErrorNoDevice:
      return start + "this machine has a driver but no NVIDIA GPU";
    case cudaErrorNoKernelImageForDevice:
      return start + reason_without_program();
    default:
      return start + text_of(error);
  }
}

const char* unavailable() noexcept {
  static const std::string reason = find_reason_unavailable();
  return reason.empty() ? nullptr : reason.c_str();
}

const char* device_name() noexcept {
  static const std::string name = [] {
    int device = 0;
    cudaDeviceProp properties{};
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, device);
    if (code_of(error) != 0) return text_of(error);
    return std::string(properties.name) + ", " + std::to_string(properties.multiProcessorCount) +
           " multiprocessors";
  }();
  return name.c_str();
}

const char* error_text(int code) noexcept {
  thread_local char text[512];
  const cudaError_t error = static_cast<cudaError_t>(code);
  std::snprintf(text, sizeof(text), "%s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
  return text;
}

int allocate(void** memory, std::size_t bytes, void* stream) {
  *memory = nullptr;
  bool capturing = false;
  if (const cudaError_t error = capture_status(as_stream(stream), &capturing)) {
    return code_of(error);
  }
  // A graph would hand out the same memory in each launch and never give it back.
  if (capturing) return code_of(cudaErrorStreamCaptureUnsupported);
  return code_of(cudaMallocAsync(memory, bytes, as_stream(stream)));
}

void release(void* memory, void* stream) noexcept {
  bool capturing = false;
  if (capture_status(as_stream(stream), &capturing) != cudaSuccess || capturing) {
    // Not a part of what is being recorded. Whoever records has waited for what was enqueued
    // before (see capture in lora/graph.hpp), so nothing uses the memory any more.
    cudaStream_t aside = nullptr;
    cudaError_t error = cudaStreamCreateWithFlags(&aside, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaFreeAsync(memory, aside);
    if (aside) cudaStreamDestroy(aside);
    code_of(error);
    return;
  }
  code_of(cudaFreeAsync(memory, as_stream(stream)));
}

int allocate_pinned(void** memory, std::size_t bytes) {
  *memory = nullptr;
  return code_of(cudaHostAlloc(memory, bytes, cudaHostAllocDefault));
}

void release_pinned(void* memory) noexcept { code_of(cudaFreeHost(memory)); }

int copy(void* to, const void* from, std::size_t bytes, detail::CopyKind kind, void* stream) {
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, memcpy_kind(kind), as_stream(stream));
  if (error != cudaSuccess || kind == detail::CopyKind::device_to_device) return code_of(error);
  bool capturing = false;
  error = capture_status(as_stream(stream), &capturing);
  if (error == cudaSuccess && !capturing) error = cudaStreamSynchronize(as_stream(stream));
  return code_of(error);
}

int copy_from_pinned(void* to, const void* from, std::size_t bytes, void* stream) {
  return code_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, as_stream(stream)));
}

// A stream of this kind and the default stream wait for each other, so tensors that were filled
// before the stream was made can be used in it.
int create_stream(void** stream) {
  cudaStream_t created = nullptr;
  const cudaError_t error = cudaStreamCreate(&created);
  *stream = created;
  return code_of(error);
}

void destroy_stream(void* stream) noexcept {
  free_workspace(take_workspace(as_stream(stream)), as_stream(stream));
  code_of(cudaStreamDestroy(as_stream(stream)));
}

int synchronize(void* stream) { return code_of(cudaStreamSynchronize(as_stream(stream))); }

int begin_capture(void* stream) {
  cudaError_t error = prepare_workspace(as_stream(stream));
  if (error == cudaSuccess) {
    error = cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal);
  }
  return code_of(error);
}

int end_capture(void* stream, void** graph) {
  *graph = nullptr;
  cudaGraph_t recorded = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaError_t error = cudaStreamEndCapture(as_stream(stream), &recorded);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&executable, recorded);
  if (recorded) {
    const cudaError_t destroyed = cudaGraphDestroy(recorded);
    if (error == cudaSuccess) error = destroyed;
  }
  if (error == cudaSuccess) {
    *graph = new (std::nothrow) CapturedGraph{executable, take_workspace(as_stream(stream))};
    if (!*graph) error = cudaErrorMemoryAllocation;
  }
  if (error != cudaSuccess && executable) cudaGraphExecDestroy(executable);
  return code_of(error);
}

int launch_graph(void* graph, void* stream) {
  const cudaGraphExec_t executable = static_cast<CapturedGraph*>(graph)->executable;
  return code_of(cudaGraphLaunch(executable, as_stream(stream)));
}

void destroy_graph(void* graph) noexcept {
  auto* const captured = static_cast<CapturedGraph*>(graph);
  code_of(cudaGraphExecDestroy(captured->executable));
  // The default stream waits for all others, in any of which the graph may still be running.
  free_workspace(captured->workspace, nullptr);
  delete captured;
}

int create_event(void** event, bool timing) {
  cudaEvent_t created = nullptr;
  const cudaError_t error =
      cudaEventCreateWithFlags(&created, timing ? cudaEventDefault : cudaEventDisableTiming);
  *event = created;
  return code_of(error);
}

void destroy_event(void* event) noexcept { code_of(cudaEventDestroy(as_event(event))); }

int record_event(void* event, void* stream) {
  return code_of(cudaEventRecord(as_event(event), as_stream(stream)));
}

int query_event(void* event, bool* reached) {
  const cudaError_t error = cudaEventQuery(as_event(event));
  const int code = code_of(error);
  *reached = error == cudaSuccess;
  return error == cudaErrorNotReady ? 0 : code;
}

int synchronize_event(void* event) { return code_of(cudaEventSynchronize(as_event(event))); }

int wait_event(void* stream, void* event) {
  return code_of(cudaStreamWaitEvent(as_stream(stream), as_event(event)));
}

int elapsed_time(void* start, void* end, float* milliseconds) {
  return code_of(cudaEventElapsedTime(milliseconds, as_event(start), as_event(end)));
}

}  // namespace lora::inline v0::cuda
