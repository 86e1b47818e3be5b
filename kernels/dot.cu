// SPDX-License-Identifier: MIT
#include "kernels/dot.cuh"

#include <algorithm>
#include <cstddef>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

/// Launches a kernel whose blocks share `count` partial sums.
template <class... Params, class Operand>
int launch_sum(void (*kernel)(Params...), int threads, std::int64_t count, const Operand& x,
               const Operand& y, double* result, void* stream) {
  Workspace workspace;
  const std::size_t floats = static_cast<std::size_t>(count) * (sizeof(double) / sizeof(float));
  if (const int code = reserve_workspace(floats, 1, stream, &workspace)) return code;
  const std::int64_t most = std::int64_t{multiprocessor_count()} * (kResidentThreads / threads);
  const std::int64_t blocks = std::clamp<std::int64_t>(count, 1, most);
  return code_of(launch(kernel,
                        LaunchConfig{.grid = static_cast<unsigned>(blocks),
                                     .block = static_cast<unsigned>(threads),
                                     .stream = as_stream(stream)},
                        x, y, count, reinterpret_cast<double*>(workspace.partials),
                        workspace.arrivals, result));
}

}  // namespace

int dot(ConstVector x, ConstVector y, double* result, void* stream) {
  return launch_sum(are_aligned(x.data, y.data) ? dot_kernel<kWidest> : dot_kernel<1>, kDotThreads,
                    divide_up(x.size, kDotChunk), x, y, result, stream);
}

int squared_norm_factored(ConstMatrix dy, ConstMatrix x, double* result, void* stream) {
  return launch_sum(squared_norm_factored_kernel, kPairThreads, dy.rows * (dy.rows / 2 + 1), dy, x,
                    result, stream);
}

}  // namespace lora::inline v0::cuda
