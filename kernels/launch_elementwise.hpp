// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/device/compat.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

/// Launches a kernel over `size` independent elements: `wide` where all addresses allow packs of
/// four, else `narrow`.
template <class... Params, class... Args>
int launch_elementwise(void (*wide)(Params...), void (*narrow)(Params...), std::int64_t size,
                       bool aligned, void* stream, const Args&... args) {
  const ElementwiseConfig config = elementwise_config({size, aligned, multiprocessor_count()});
  return code_of(launch(config.width == kWidest ? wide : narrow,
                        LaunchConfig{.grid = config.blocks,
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        args...));
}

}  // namespace lora::inline v0::cuda
