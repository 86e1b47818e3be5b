// SPDX-License-Identifier: MIT
#include "kernels/copy_columns.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int copy_columns(ConstMatrix x, Matrix y, void* stream) {
  const GatherConfig config = gather_config({x.rows, x.cols, multiprocessor_count()},
                                            rows_are_aligned(x, 16) && rows_are_aligned(y, 16));
  return code_of(launch(config.width == kWidest ? copy_columns_kernel<4> : copy_columns_kernel<1>,
                        LaunchConfig{.grid = config.blocks,
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        x, y));
}

}  // namespace lora::inline v0::cuda
