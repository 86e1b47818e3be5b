// SPDX-License-Identifier: MIT
#include "kernels/normalize_rows.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int normalize_rows(MatrixView<const std::uint8_t> x, VectorView<const std::int64_t> rows, Matrix y,
                   double mean, double std, void* stream) {
  const GatherConfig config = gather_config({rows.size, x.cols, multiprocessor_count()},
                                            rows_are_aligned(x, 4) && rows_are_aligned(y, 16));
  return code_of(
      launch(config.width == kWidest ? normalize_rows_kernel<4> : normalize_rows_kernel<1>,
             LaunchConfig{.grid = config.blocks,
                          .block = static_cast<unsigned>(config.threads),
                          .stream = as_stream(stream)},
             x, rows, y, Normalization{static_cast<float>(mean), static_cast<float>(std)}));
}

}  // namespace lora::inline v0::cuda
