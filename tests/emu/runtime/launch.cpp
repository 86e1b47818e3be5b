// SPDX-License-Identifier: MIT
#include <lora_emu/launch.hpp>

#include <utility>

#include "device.hpp"
#include "memory.hpp"
#include "scheduler.hpp"
#include "stream.hpp"

namespace lora_emu {

namespace {

cudaError_t check(const Launch& launch) {
  const auto& [grid, block, shared_bytes, thread] = launch;
  constexpr unsigned kMostThreads = 1024;
  constexpr std::size_t kMostSharedBytes = 227 * 1024;
  const bool block_fits = block.x <= kMostThreads && block.y <= kMostThreads && block.z <= 64 &&
                          std::uint64_t{block.x} * block.y * block.z <= kMostThreads;
  const bool empty =
      std::uint64_t{block.x} * block.y * block.z == 0 || grid.x == 0 || grid.y == 0 || grid.z == 0;
  if (empty || !block_fits || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  return shared_bytes > kMostSharedBytes ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t run_now(const Launch& launch) {
  Device& machine = device();
  const auto threads = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  const int capacity = machine.sm_count * occupancy(threads, launch.shared_bytes);
  std::string report = scheduler().run(launch, machine.seed, machine.resident_blocks, capacity);
  if (report.empty()) report = damaged_guards();
  if (report.empty()) return cudaSuccess;
  host_thread().report = std::move(report);
  return cudaErrorLaunchFailure;
}

}  // namespace

cudaError_t launch(Launch launch, cudaStream_t stream) {
  const ApiLock lock;
  if (device().failure != cudaSuccess) return remember(device().failure);
  const cudaError_t planned = std::exchange(device().next_launch, cudaSuccess);
  if (planned != cudaSuccess) return remember(planned);
  const cudaError_t error = check(launch);
  if (error != cudaSuccess) return remember(error);
  return submit(stream, [launch = std::move(launch)] { return run_now(launch); });
}

}  // namespace lora_emu
