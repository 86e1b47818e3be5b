// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <lora_emu/control.hpp>

#include "basic_kernels.hpp"
#include "device_buffer.hpp"
#include "support/catch.hpp"
#include "test_values.hpp"

using namespace lora_emu_test;
using lora::cuda::launch;

namespace {

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

cudaError_t scale_on(cudaStream_t stream, DeviceBuffer<float>& x, DeviceBuffer<float>& y,
                     float factor) {
  return launch(scale, {.grid = 1, .block = 32, .stream = stream}, x.get(), y.get(), 4, factor);
}

}  // namespace

TEST_CASE("device memory is NaN until written and counted until freed", "[emu][api]") {
  const std::size_t before = lora_emu::live_allocations();
  float* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 10 * sizeof(float)) == cudaSuccess);
  CHECK(lora_emu::live_allocations() == before + 1);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
  std::vector<float> host(10);
  REQUIRE(cudaMemcpy(host.data(), memory, 40, cudaMemcpyDeviceToHost) == cudaSuccess);
  for (const float v : host) CHECK(std::isnan(v));
  REQUIRE(cudaMemset(memory, 0, 40) == cudaSuccess);
  REQUIRE(cudaMemcpy(host.data(), memory, 40, cudaMemcpyDefault) == cudaSuccess);
  CHECK(host == std::vector<float>(10, 0.0f));
  CHECK(cudaMemcpy(host.data(), memory + 1, 40, cudaMemcpyDefault) == cudaErrorInvalidValue);
  CHECK(cudaMemset(memory, 0, 41) == cudaErrorInvalidValue);
  CHECK(cudaFree(memory + 1) == cudaErrorInvalidValue);
  CHECK(cudaFreeHost(memory) == cudaErrorInvalidValue);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(lora_emu::live_allocations() == before);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("pinned memory and memory in stream order", "[emu][api]") {
  const cudaStream_t stream = make_stream();
  float* device = nullptr;
  float* host = nullptr;
  REQUIRE(cudaMallocHost(&host, 16) == cudaSuccess);
  REQUIRE(cudaMallocAsync(&device, 16, stream) == cudaSuccess);
  for (int i = 0; i < 4; ++i) host[i] = static_cast<float>(i);
  REQUIRE(cudaMemcpyAsync(device, host, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(host, 0, 16, stream) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(host, device, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(host[3] == 3.0f);
  CHECK(cudaFreeAsync(device, stream) == cudaSuccess);
  CHECK(cudaFreeHost(host) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle);
}

TEST_CASE("a copy from pinned memory lands when something waits for it", "[emu][api]") {
  const cudaStream_t stream = make_stream();
  cudaEvent_t event = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  DeviceBuffer<float> x(4), y(4);
  float* host = nullptr;
  REQUIRE(cudaMallocHost(&host, 16) == cudaSuccess);
  const auto upload = [&](float value) {
    for (int i = 0; i < 4; ++i) host[i] = value;
    REQUIRE(cudaMemcpyAsync(x.get(), host, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
    REQUIRE(cudaEventRecord(event, stream) == cudaSuccess);
  };
  const auto all = [](float value) { return std::vector<float>(4, value); };
  upload(1);
  host[0] = host[1] = host[2] = host[3] = 9;  // too early
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(x.values() == all(9));
  upload(2);
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  upload(3);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  upload(4);
  CHECK(cudaFreeHost(host) == cudaErrorLaunchFailure);
  CHECK(lora_emu::last_report() == "pinned memory was freed that a copy still has to read");
  REQUIRE(scale_on(stream, x, y, 2.0f) == cudaSuccess);
  CHECK(y.values() == all(8));
  upload(5);
  REQUIRE(cudaStreamWaitEvent(nullptr, event) == cudaSuccess);
  CHECK(x.values() == all(5));
  upload(6);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(x.values() == all(6));
  CHECK(cudaEventQuery(event) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaFreeHost(host) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("events", "[emu][api]") {
  const cudaStream_t stream = make_stream();
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  REQUIRE(cudaEventCreate(&begin) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&end, cudaEventDefault) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(begin, stream) == cudaSuccess);
  CHECK(cudaEventRecord(end, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(stream, end) == cudaSuccess);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess);
  CHECK(milliseconds >= 0);
  CHECK(cudaEventDestroy(begin) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("a captured graph runs when it is launched, as often as it is", "[emu][api][graph]") {
  const cudaStream_t stream = make_stream();
  DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4}), y(4);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusActive);
  REQUIRE(scale_on(stream, x, y, 3.0f) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(x.get(), y.get(), 16, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(x.values() == std::vector<float>{1, 2, 3, 4});
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
  CHECK(x.values() == std::vector<float>{9, 18, 27, 36});
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  CHECK(cudaGraphLaunch(executable, stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("a capture goes over to other streams by events", "[emu][api][graph]") {
  const cudaStream_t stream = make_stream();
  const cudaStream_t other = make_stream();
  cudaEvent_t fork = nullptr;
  cudaEvent_t join = nullptr;
  REQUIRE(cudaEventCreate(&fork) == cudaSuccess);
  REQUIRE(cudaEventCreate(&join) == cudaSuccess);
  DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4}), y(4);
  for (const bool joined : {false, true}) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    REQUIRE(cudaEventRecord(fork, stream) == cudaSuccess);
    CHECK(cudaEventQuery(fork) == cudaErrorCapturedEvent);
    REQUIRE(cudaStreamWaitEvent(other, fork) == cudaSuccess);
    REQUIRE(scale_on(other, x, y, 2.0f) == cudaSuccess);
    REQUIRE(cudaEventRecord(join, other) == cudaSuccess);
    if (joined) REQUIRE(cudaStreamWaitEvent(stream, join) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(other, &graph) == cudaErrorStreamCaptureUnmatched);
    CHECK(cudaStreamEndCapture(stream, &graph) ==
          (joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined));
    if (!joined) continue;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
    REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
    CHECK(y.values() == std::vector<float>{2, 4, 6, 8});
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
  CHECK(cudaEventDestroy(fork) == cudaSuccess);
  CHECK(cudaEventDestroy(join) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("what a capture forbids spoils it", "[emu][api][graph]") {
  const cudaStream_t stream = make_stream();
  DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4}), y(4);
  void* memory = nullptr;
  const auto forbidden = [&](int which) {
    switch (which) {
      case 0:
        return cudaMalloc(&memory, 16);
      case 1:
        return cudaStreamSynchronize(stream);
      case 2:
        return cudaDeviceSynchronize();
      case 3:
        return cudaMemcpy(x.get(), y.get(), 16, cudaMemcpyDefault);
      case 4:
        return cudaMallocAsync(&memory, 16, stream);
      default:
        return cudaFree(x.get());
    }
  };
  for (int which = 0; which < 6; ++which) {
    INFO("call " << which);
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(forbidden(which) == cudaErrorStreamCaptureUnsupported);
    CHECK(scale_on(stream, x, y, 2.0f) == cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  }
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) ==
        cudaErrorStreamCaptureUnsupported);
  cudaGetLastError();
}

TEST_CASE("work on the legacy stream spoils the capture of a blocking stream",
          "[emu][api][graph]") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4}), y(4);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(scale_on(nullptr, x, y, 2.0f) == cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("a device that cannot be used", "[emu][api]") {
  for (const cudaError_t error : {cudaErrorNoDevice, cudaErrorInsufficientDriver}) {
    lora_emu::set_device_failure(error);
    int count = -1;
    CHECK(cudaGetDeviceCount(&count) == error);
    CHECK(count == 0);
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, 16) == error);
    cudaStream_t stream = nullptr;
    CHECK(cudaStreamCreate(&stream) == error);
    CHECK(launch(barriers_only, {.grid = 1, .block = 32}, 1) == error);
    CHECK(cudaDeviceSynchronize() == error);
    lora_emu::set_device_failure(cudaSuccess);
    CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
    CHECK(count == 1);
  }
  CHECK(std::string(cudaGetErrorName(cudaErrorInsufficientDriver)) ==
        "cudaErrorInsufficientDriver");
  CHECK(std::string(cudaGetErrorString(cudaErrorNoDevice)) == "no CUDA-capable device is detected");
  cudaGetLastError();
}

TEST_CASE("failures by plan", "[emu][api]") {
  lora_emu::fail_next_allocation(cudaErrorMemoryAllocation);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 16) == cudaErrorMemoryAllocation);
  CHECK(memory == nullptr);
  CHECK(cudaMalloc(&memory, 16) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
  lora_emu::fail_next_launch(cudaErrorLaunchOutOfResources);
  CHECK(launch(barriers_only, {.grid = 1, .block = 32}, 1) == cudaErrorLaunchOutOfResources);
  CHECK(cudaPeekAtLastError() == cudaErrorLaunchOutOfResources);
  CHECK(launch(barriers_only, {.grid = 1, .block = 32}, 1) == cudaSuccess);
  CHECK(cudaGetLastError() == cudaErrorLaunchOutOfResources);
}

TEST_CASE("host threads take turns and have errors of their own", "[emu][api]") {
  constexpr int kHostThreads = 3;
  std::vector<int> good(kHostThreads, 0);
  const auto work = [&](int& count) {
    std::vector<float> host(4, 1.0f);
    float* x = nullptr;
    cudaStream_t stream = nullptr;
    count += cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess;
    count += cudaMalloc(&x, 16) == cudaSuccess;
    count += cudaMemcpy(x, host.data(), 16, cudaMemcpyHostToDevice) == cudaSuccess;
    for (int i = 0; i < 10; ++i) {
      count +=
          launch(scale, {.grid = 1, .block = 32, .stream = stream}, x, x, 4, 2.0f) == cudaSuccess;
    }
    count += cudaMemcpy(host.data(), x, 16, cudaMemcpyDeviceToHost) == cudaSuccess;
    count += host == std::vector<float>(4, 1024.0f);
    count += cudaFree(x + 1) == cudaErrorInvalidValue;
    count += cudaGetLastError() == cudaErrorInvalidValue;
    count += cudaFree(x) == cudaSuccess;
    count += cudaStreamDestroy(stream) == cudaSuccess;
  };
  {
    std::vector<std::jthread> threads;
    for (int& count : good) threads.emplace_back([&] { work(count); });
  }
  CHECK(good == std::vector<int>(kHostThreads, 19));
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("launches that no device accepts", "[emu][api]") {
  for (const dim3 block : {dim3(1025), dim3(0), dim3(1, 1, 65), dim3(32, 33)}) {
    CHECK(launch(barriers_only, {.grid = 1, .block = block}, 1) == cudaErrorInvalidConfiguration);
  }
  CHECK(launch(barriers_only, {.grid = dim3(1, 65536), .block = 1}, 1) ==
        cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

TEST_CASE("what the emulated device says of itself", "[emu][api]") {
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == 4);
  lora_emu::set_sm_count(7);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.multiProcessorCount == 7);
  lora_emu::set_sm_count(4);
  CHECK(properties.warpSize == 32);
  CHECK(cudaGetDeviceProperties(&properties, 1) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaDriverGetVersion(&value) == cudaSuccess);
  CHECK(value >= 13000);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, barriers_only, 1024, 0) ==
        cudaSuccess);
  CHECK(value == (lora_emu::sanitizer() == lora_emu::Sanitizer::kThread ? 1 : 2));
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, barriers_only, 256, 120 * 1024) ==
        cudaSuccess);
  CHECK(value == 1);
  CHECK(cudaFuncSetAttribute(barriers_only, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             228 * 1024) == cudaErrorInvalidValue);
  CHECK(cudaDeviceReset() == cudaSuccess);
  CHECK(cudaGetLastError() == cudaSuccess);
}
