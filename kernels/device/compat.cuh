// SPDX-License-Identifier: MIT
#pragma once

// What CUDA says by syntax that C++ lacks: shared memory and launches. With this, kernels are plain
// C++20 and also run on the CPU (tests/emu), where LORA_EMULATION is defined.

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#if defined(LORA_EMULATION)

#include <lora_emu/launch.hpp>
#include <lora_emu/shared_memory.hpp>

/// An array of the block, aligned to 16 bytes: type name[count].
#define LORA_SHARED_MEMORY(type, name, count)                                    \
  static constexpr ::lora_emu::SharedSlot name##_slot{#name, __FILE__, __LINE__, \
                                                      sizeof(type) * (count)};   \
  type(&name)[count] = *static_cast<type(*)[count]>(::lora_emu::shared_memory(name##_slot))

/// The block's memory whose size the launch states, aligned to 128 bytes: type* name.
#define LORA_DYNAMIC_SHARED_MEMORY(type, name) \
  type* const name = static_cast<type*>(::lora_emu::dynamic_shared_memory())

#else

#define LORA_SHARED_MEMORY(type, name, count) __shared__ __align__(16) type name[count]

#define LORA_DYNAMIC_SHARED_MEMORY(type, name)                                 \
  extern __shared__ __align__(128) unsigned char lora_dynamic_shared_memory[]; \
  type* const name = reinterpret_cast<type*>(lora_dynamic_shared_memory)

#endif

namespace lora::inline v0::cuda {

struct LaunchConfig {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

/// Puts the kernel on the stream, with its arguments converted to its parameters' types. An empty
/// grid is no launch and no error.
template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "one argument for each parameter");
  static_assert((std::is_trivially_copyable_v<Params> && ...), "a kernel takes plain data");
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) return cudaSuccess;
  std::tuple<Params...> params(static_cast<Params>(std::forward<Args>(args))...);
#if defined(LORA_EMULATION)
  return lora_emu::launch(
      {config.grid, config.block, config.shared_bytes, lora_emu::bind(kernel, std::move(params))},
      config.stream);
#else
  constexpr std::size_t kSharedWithoutAsking = 48 * 1024;
  if (config.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(config.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t launch_config{};
  launch_config.gridDim = config.grid;
  launch_config.blockDim = config.block;
  launch_config.dynamicSmemBytes = config.shared_bytes;
  launch_config.stream = config.stream;
  return std::apply(
      [&](Params&... param) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&param))..., nullptr};
        return cudaLaunchKernelExC(&launch_config, reinterpret_cast<const void*>(kernel), pointers);
      },
      params);
#endif
}

}  // namespace lora::inline v0::cuda
