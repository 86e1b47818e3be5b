// SPDX-License-Identifier: MIT
#include "kernels/linear_backward_bias.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int linear_backward_bias(ConstMatrix dy, Vector db, bool accumulate, void* stream) {
  const ColumnSumsConfig config = column_sums_config(dy.rows, dy.cols);
  const auto columns = static_cast<unsigned>(config.columns);
  const auto lanes = static_cast<unsigned>(config.lanes);
  return code_of(launch(linear_backward_bias_kernel,
                        LaunchConfig{.grid = config.blocks,
                                     .block = dim3(columns, lanes),
                                     .shared_bytes = columns * lanes * sizeof(float),
                                     .stream = as_stream(stream)},
                        dy, db, accumulate));
}

}  // namespace lora::inline v0::cuda
