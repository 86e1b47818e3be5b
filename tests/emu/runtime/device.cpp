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
  static auto* const instance = new Device{.seed = seed_from_environment(), .report = {}};
  return *instance;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) device().last_error = error;
  return error;
}

void set_seed(std::uint64_t seed) { device().seed = seed; }
std::uint64_t seed() { return device().seed; }
void set_resident_blocks(int blocks) { device().resident_blocks = blocks; }
void set_sm_count(int count) { device().sm_count = count; }
void set_device_failure(cudaError_t error) { device().failure = error; }
void fail_next_allocation(cudaError_t error) { device().next_allocation = error; }
void fail_next_launch(cudaError_t error) { device().next_launch = error; }
std::string last_report() { return device().report; }

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
using lora_emu::remember;

cudaError_t cudaGetLastError() { return std::exchange(device().last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return device().last_error; }

#define LORA_EMU_ERRORS(error)                                                                     \
  error(cudaSuccess, "no error") error(cudaErrorInvalidValue, "invalid argument") error(           \
      cudaErrorMemoryAllocation, "out of memory") error(cudaErrorInitializationError,              \
                                                        "initialization error")                    \
      error(cudaErrorInvalidConfiguration, "invalid configuration argument") error(                \
          cudaErrorInsufficientDriver,                                                             \
          "CUDA driver version is insufficient for CUDA runtime version")                          \
          error(cudaErrorNoDevice, "no CUDA-capable device is detected")                           \
              error(cudaErrorInvalidDevice, "invalid device ordinal") error(                       \
                  cudaErrorNoKernelImageForDevice,                                                 \
                  "no kernel image is available for execution on the device")                      \
                  error(cudaErrorInvalidResourceHandle, "invalid resource handle") error(          \
                      cudaErrorNotReady,                                                           \
                      "device not ready") error(cudaErrorIllegalAddress,                           \
                                                "an illegal memory access was encountered")        \
                      error(cudaErrorLaunchOutOfResources,                                         \
                            "too many resources requested for launch")                             \
                          error(cudaErrorLaunchFailure, "unspecified launch failure")              \
                              error(cudaErrorNotSupported, "operation not supported") error(       \
                                  cudaErrorStreamCaptureUnsupported,                               \
                                  "operation not permitted when stream is capturing")              \
                                  error(cudaErrorStreamCaptureInvalidated,                         \
                                        "operation failed due to a previous error during capture") \
                                      error(cudaErrorStreamCaptureUnmatched,                       \
                                            "the capture was not begun on this stream")            \
                                          error(cudaErrorStreamCaptureUnjoined,                    \
                                                "capturing stream has unjoined work")              \
                                              error(cudaErrorStreamCaptureIsolation,               \
                                                    "dependency created on uncaptured work in "    \
                                                    "another stream")                              \
                                                  error(cudaErrorStreamCaptureImplicit,            \
                                                        "operation would make the legacy stream "  \
                                                        "depend on a capturing blocking stream")   \
                                                      error(cudaErrorCapturedEvent,                \
                                                            "operation not permitted on an event " \
                                                            "last recorded in a capturing stream") \
                                                          error(cudaErrorUnknown, "unknown error")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define LORA_EMU_NAME(code, text) \
  case code:                      \
    return #code;
    LORA_EMU_ERRORS(LORA_EMU_NAME)
#undef LORA_EMU_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure && !device().report.empty()) return device().report.c_str();
  switch (error) {
#define LORA_EMU_TEXT(code, text) \
  case code:                      \
    return text;
    LORA_EMU_ERRORS(LORA_EMU_TEXT)
#undef LORA_EMU_TEXT
  }
  return "unrecognized error code";
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
  device().last_error = cudaSuccess;
  return device().failure;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t{1} << 30;
  return remember(device().failure);
}
