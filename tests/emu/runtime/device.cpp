// SPDX-License-Identifier: MIT
#include "device.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <lora_emu/control.hpp>

#include "sanitizers.hpp"

namespace lora_emu {

namespace {

constexpr int kMaxThreadsPerSm = 2048;
constexpr std::size_t kSharedPerSm = 228 * 1024;
constexpr std::size_t kSharedPerBlockOptin = 227 * 1024;
constexpr std::size_t kSharedPerBlock = 48 * 1024;
constexpr int kVersion = 13000;

std::uint64_t seed_from_environment() {
  const char* const text = std::getenv("LORA_EMU_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

}  // namespace

Device& device() {
  static auto* const instance = new Device{.seed = seed_from_environment()};
  return *instance;
}

HostThread& host_thread() {
  static thread_local HostThread instance;
  return instance;
}

std::recursive_mutex& ApiLock::mutex() {
  static auto* const instance = new std::recursive_mutex;
  return *instance;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) host_thread().last_error = error;
  return error;
}

void set_seed(std::uint64_t seed) { device().seed = seed; }
std::uint64_t seed() { return device().seed; }
void set_resident_blocks(int blocks) { device().resident_blocks = blocks; }
void set_sm_count(int count) { device().sm_count = count; }
void set_device_failure(cudaError_t error) { device().failure = error; }
void fail_next_allocation(cudaError_t error) { device().next_allocation = error; }
void fail_next_launch(cudaError_t error) { device().next_launch = error; }
std::string last_report() { return host_thread().report; }

Sanitizer sanitizer() {
  if (kThreadSanitizer) return Sanitizer::kThread;
  return kAddressSanitizer ? Sanitizer::kAddress : Sanitizer::kNone;
}

int occupancy(int threads, std::size_t shared_bytes) {
  // ThreadSanitizer has room for some 8000 threads.
  const int most = kThreadSanitizer && threads > 512 ? 1 : 2;
  constexpr std::size_t kReservedPerBlock = 1024;
  if (threads <= 0 || shared_bytes > kSharedPerBlockOptin) return 0;
  const auto by_memory = static_cast<int>(kSharedPerSm / (shared_bytes + kReservedPerBlock));
  return std::min({most, kMaxThreadsPerSm / threads, by_memory});
}

cudaError_t set_function_attribute(cudaFuncAttribute attribute, int value) {
  const bool too_much = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
                        (value < 0 || static_cast<std::size_t>(value) > kSharedPerBlockOptin);
  return remember(too_much ? cudaErrorInvalidValue : cudaSuccess);
}

}  // namespace lora_emu

using lora_emu::device;
using lora_emu::host_thread;
using lora_emu::remember;

cudaError_t cudaGetLastError() { return std::exchange(host_thread().last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return host_thread().last_error; }

namespace {

struct ErrorText {
  cudaError_t code;
  const char* name;
  const char* text;
};

constexpr ErrorText kErrorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "the capture was not begun on this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

ErrorText text_of(cudaError_t error) {
  for (const ErrorText& candidate : kErrorTexts) {
    if (candidate.code == error) return candidate;
  }
  return {error, "unrecognized error code", "unrecognized error code"};
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure && !host_thread().report.empty())
    return host_thread().report.c_str();
  return text_of(error).text;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device().failure == cudaSuccess ? 1 : 0;
  return remember(device().failure);
}

cudaError_t cudaSetDevice(int index) {
  if (device().failure != cudaSuccess) return remember(device().failure);
  return remember(index == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int* index) {
  *index = 0;
  return remember(device().failure);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (device().failure != cudaSuccess) return remember(device().failure);
  if (index != 0) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::strncpy(properties->name, "Emulated device", sizeof properties->name - 1);
  properties->totalGlobalMem = std::size_t{1} << 30;
  properties->sharedMemPerBlock = lora_emu::kSharedPerBlock;
  properties->sharedMemPerBlockOptin = lora_emu::kSharedPerBlockOptin;
  properties->sharedMemPerMultiprocessor = lora_emu::kSharedPerSm;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = lora_emu::kMaxThreadsPerSm;
  properties->multiProcessorCount = device().sm_count;
  properties->l2CacheSize = 50 << 20;
  properties->major = 9;
  properties->minor = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      return cudaSuccess;
  }
  return remember(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = device().failure == cudaSuccess ? lora_emu::kVersion : 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = lora_emu::kVersion;
  return cudaSuccess;
}

cudaError_t cudaDeviceReset() {
  host_thread().last_error = cudaSuccess;
  return device().failure;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t{1} << 30;
  return remember(device().failure);
}
