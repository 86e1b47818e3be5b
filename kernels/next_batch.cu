// SPDX-License-Identifier: MIT
#include "kernels/next_batch.cuh"

#include <algorithm>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int next_batch(MatrixView<const std::uint8_t> images, Labels labels,
               VectorView<const std::int64_t> order, std::int64_t* step, Matrix y,
               VectorView<std::int32_t> batch_labels, double mean, double std, void* stream) {
  const GatherConfig config = gather_config({y.rows, y.cols, multiprocessor_count()},
                                            rows_are_aligned(images, 4) && rows_are_aligned(y, 16));
  return code_of(launch(config.width == kWidest ? next_batch_kernel<4> : next_batch_kernel<1>,
                        LaunchConfig{.grid = std::min(config.blocks, kMostGatherBlocks),
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        images, labels, order, step, y, batch_labels,
                        Normalization{static_cast<float>(mean), static_cast<float>(std)}));
}

}  // namespace lora::inline v0::cuda
