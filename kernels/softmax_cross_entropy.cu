// SPDX-License-Identifier: MIT
#include "kernels/softmax_cross_entropy.cuh"

#include <algorithm>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

// Few rows of few classes, such as a batch of digits: one block.
cudaError_t run_small(const RowsConfig& config, ConstMatrix logits, Labels labels, Matrix dlogits,
                      const LossSlots& loss, cudaStream_t stream) {
  const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(1, labels.size));
  return launch(softmax_cross_entropy_small_kernel,
                LaunchConfig{.grid = 1,
                             .block = static_cast<unsigned>(config.threads),
                             .shared_bytes = rows * sizeof(double),
                             .stream = stream},
                logits, labels, dlogits, loss);
}

}  // namespace

int softmax_cross_entropy(ConstMatrix logits, Labels labels, Matrix dlogits, LossSlots loss,
                          void* stream) {
  const SoftmaxConfig config = softmax_config({logits.rows, logits.cols, multiprocessor_count()});
  const cudaStream_t cuda_stream = as_stream(stream);
  if (config.one_block) {
    return code_of(run_small(config.rows, logits, labels, dlogits, loss, cuda_stream));
  }
  Workspace workspace;
  const std::size_t floats =
      static_cast<std::size_t>(labels.size) * (sizeof(double) / sizeof(float));
  if (const int code = reserve_workspace(floats, 1, stream, &workspace)) return code;
  return code_of(launch(config.rows.block_per_row ? softmax_cross_entropy_kernel<BlockTeam>
                                                  : softmax_cross_entropy_kernel<WarpTeam>,
                        LaunchConfig{.grid = config.rows.blocks,
                                     .block = static_cast<unsigned>(config.rows.threads),
                                     .stream = cuda_stream},
                        logits, labels, dlogits, loss,
                        reinterpret_cast<double*>(workspace.partials), workspace.arrivals));
}

}  // namespace lora::inline v0::cuda
