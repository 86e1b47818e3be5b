// SPDX-License-Identifier: MIT
#include "kernels/argmax.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int argmax(ConstMatrix x, VectorView<std::int32_t> indices, void* stream) {
  const RowsConfig config = rows_config({x.rows, x.cols, multiprocessor_count()});
  return code_of(launch(config.block_per_row ? argmax_kernel<BlockTeam> : argmax_kernel<WarpTeam>,
                        LaunchConfig{.grid = config.blocks,
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        x, indices));
}

}  // namespace lora::inline v0::cuda
