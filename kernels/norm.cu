// SPDX-License-Identifier: MIT
#include "kernels/norm.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

LaunchConfig row_launch(const RowsConfig& config, void* stream) {
  return {.grid = config.blocks,
          .block = static_cast<unsigned>(config.threads),
          .stream = as_stream(stream)};
}

int norm(ConstMatrix x, ConstVector weight, ConstVector bias, Matrix y, Vector mean, Vector inv_std,
         double eps, void* stream) {
  const bool wide =
      rows_are_aligned(x, 16) && rows_are_aligned(y, 16) && are_aligned(weight.data, bias.data);
  const RowsConfig config = rows_config({x.rows, x.cols, multiprocessor_count()});
  const auto of_warps = wide ? norm_kernel<WarpTeam, kWidest> : norm_kernel<WarpTeam, 1>;
  const auto of_blocks = wide ? norm_kernel<BlockTeam, kWidest> : norm_kernel<BlockTeam, 1>;
  return code_of(launch(config.block_per_row ? of_blocks : of_warps, row_launch(config, stream), x,
                        weight, bias, y, mean, inv_std, static_cast<float>(eps)));
}

int norm_backward(ConstMatrix dy, ConstMatrix x, ConstVector weight,
                  const NormStatistics& statistics, Matrix dx, const NormGradients& gradients,
                  void* stream) {
  // First, because dx may lie over dy.
  if (gradients.weight.data || gradients.bias.data) {
    const NormSumsConfig config = norm_sums_config(x.rows, x.cols);
    const auto chunks = static_cast<std::size_t>(config.chunks);
    Workspace workspace;
    if (const int code = reserve_workspace(2 * chunks * static_cast<std::size_t>(x.cols),
                                           config.blocks, stream, &workspace)) {
      return code;
    }
    const int code =
        code_of(launch(norm_backward_weight_kernel,
                       LaunchConfig{.grid = dim3(config.blocks, config.chunks),
                                    .block = kNormSumWarps * kWarpSize,
                                    .stream = as_stream(stream)},
                       dy, x, statistics, gradients, workspace.partials, workspace.arrivals));
    if (code != 0) return code;
  }
  if (!dx.data) return 0;
  const bool wide = rows_are_aligned(dy, 16) && rows_are_aligned(x, 16) &&
                    rows_are_aligned(dx, 16) && are_aligned(weight.data);
  const RowsConfig config = rows_config({x.rows, x.cols, multiprocessor_count()});
  const auto of_warps =
      wide ? norm_backward_kernel<WarpTeam, kWidest> : norm_backward_kernel<WarpTeam, 1>;
  const auto of_blocks =
      wide ? norm_backward_kernel<BlockTeam, kWidest> : norm_backward_kernel<BlockTeam, 1>;
  return code_of(launch(config.block_per_row ? of_blocks : of_warps, row_launch(config, stream), dy,
                        x, weight, statistics, dx));
}

}  // namespace

int layer_norm(ConstMatrix x, ConstVector weight, ConstVector bias, Matrix y, Vector mean,
               Vector inv_std, double eps, void* stream) {
  return norm(x, weight, bias, y, mean, inv_std, eps, stream);
}

int layer_norm_backward(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector mean,
                        ConstVector inv_std, Matrix dx, Vector dweight, Vector dbias,
                        bool accumulate_weight, bool accumulate_bias, void* stream) {
  return norm_backward(dy, x, weight, {mean, inv_std}, dx,
                       {dweight, dbias, accumulate_weight, accumulate_bias}, stream);
}

int rms_norm(ConstMatrix x, ConstVector weight, Matrix y, Vector inv_rms, double eps,
             void* stream) {
  return norm(x, weight, {}, y, {}, inv_rms, eps, stream);
}

int rms_norm_backward(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector inv_rms,
                      Matrix dx, Vector dweight, bool accumulate, void* stream) {
  return norm_backward(dy, x, weight, {{}, inv_rms}, dx, {dweight, {}, accumulate, false}, stream);
}

}  // namespace lora::inline v0::cuda
