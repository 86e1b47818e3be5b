// SPDX-License-Identifier: MIT
#include "kernels/dora.cuh"

#include <algorithm>

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning_linear.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

int row_squares(ConstMatrix w, Vector squares, void* stream) {
  const RowsConfig config = rows_config({w.rows, w.cols, multiprocessor_count()});
  const LaunchConfig launch_config{.grid = config.blocks,
                                   .block = static_cast<unsigned>(config.threads),
                                   .stream = as_stream(stream)};
  const bool wide = rows_are_aligned(w, 16);
  if (config.block_per_row) {
    return code_of(
        launch(wide ? row_squares_kernel<BlockTeam, kWidest> : row_squares_kernel<BlockTeam, 1>,
               launch_config, w, squares));
  }
  return code_of(
      launch(wide ? row_squares_kernel<WarpTeam, kWidest> : row_squares_kernel<WarpTeam, 1>,
             launch_config, w, squares));
}

}  // namespace

// A product for u, one for each kThinBatch rows of A, and one launch for the squares. A's rows keep
// to the thin kernel, however many they are: its sums are short ones, which norms need.
int dora_linear(ConstMatrix x, ConstMatrix a, ConstMatrix w, Matrix u, Matrix wa, Vector squares,
                void* stream) {
  if (const int code = linear(x, w, {}, u, Activation::none, stream)) return code;
  for (std::int64_t first = 0; first < a.rows; first += kThinBatch) {
    const std::int64_t count = std::min(kThinBatch, a.rows - first);
    const int code = linear({a.row(first), count, a.cols, a.stride}, w, {},
                            {wa.row(first), count, wa.cols, wa.stride}, Activation::none, stream);
    if (code != 0) return code;
  }
  return row_squares(w, squares, stream);
}

int dora_gains(ConstMatrix wa, ConstVector squares, ConstMatrix a, ConstMatrix b, ConstMatrix w,
               ConstVector magnitude, Vector norms, Vector gains, double scale, void* stream) {
  const auto rank = static_cast<std::size_t>(a.rows);
  Workspace workspace;
  const std::size_t floats = (rank + 1) * rank * (sizeof(double) / sizeof(float));
  if (const int code = reserve_workspace(floats, 0, stream, &workspace)) return code;
  double* const gram = reinterpret_cast<double*>(workspace.partials);
  double* const lengths = gram + rank * rank;
  const auto side = static_cast<unsigned>(rank);
  const int code = code_of(launch(
      gram_kernel,
      LaunchConfig{.grid = dim3(side, side), .block = kGramThreads, .stream = as_stream(stream)}, a,
      gram, lengths));
  if (code != 0) return code;
  const double rounded_scale = static_cast<float>(scale);
  return code_of(launch(dora_gains_kernel,
                        LaunchConfig{.grid = static_cast<unsigned>(divide_up(w.rows, kWarpSize)),
                                     .block = kWarpSize,
                                     .stream = as_stream(stream)},
                        DoraOperands{wa, squares, a, b, w, gram, lengths, rounded_scale}, magnitude,
                        norms, gains));
}

int dora_backward_magnitude(ConstVector dgain, ConstVector norms, Vector dm, bool accumulate,
                            void* stream) {
  return launch_elementwise(dora_backward_magnitude_kernel<4>, dora_backward_magnitude_kernel<1>,
                            dm.size, are_aligned(dgain.data, norms.data, dm.data), stream, dgain,
                            norms, dm, accumulate);
}

int dora_scale_rows(ConstVector gains, Matrix w, void* stream) {
  const GatherConfig config =
      gather_config({w.rows, w.cols, multiprocessor_count()}, rows_are_aligned(w, 16));
  return code_of(
      launch(config.width == kWidest ? dora_scale_rows_kernel<4> : dora_scale_rows_kernel<1>,
             LaunchConfig{.grid = config.blocks,
                          .block = static_cast<unsigned>(config.threads),
                          .stream = as_stream(stream)},
             gains, w));
}

}  // namespace lora::inline v0::cuda
