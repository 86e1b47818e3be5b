// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <tuple>

#include <lora_emu/runtime_api.hpp>
#include <lora_emu/vector_types.hpp>

namespace lora_emu {

/// A grid to run: `thread` is what each CUDA thread calls.
struct Launch {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  std::shared_ptr<const std::function<void()>> thread;
};

/// Runs the grid now, or records it where the stream is being captured.
cudaError_t launch(Launch launch, cudaStream_t stream);

/// What every thread calls: the kernel with its own copies of the arguments.
template <class... Params>
std::shared_ptr<const std::function<void()>> bind(void (*kernel)(Params...),
                                                  std::tuple<Params...> arguments) {
  return std::make_shared<const std::function<void()>>(
      [kernel, arguments] { std::apply(kernel, arguments); });
}

}  // namespace lora_emu
