// SPDX-License-Identifier: MIT
#include <cstdint>
#include <limits>

#include <lora/detail/conv2d_sizes.hpp>

#include "kernels/conv2d_gather.cuh"
#include "kernels/conv2d_weight.cuh"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning_conv2d.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

using detail::AxisGather;

// Positions and taps are counted in 32 bits, with room for a tile behind the last.
bool fits(std::int64_t count) { return count <= std::numeric_limits<int>::max() - 1024; }

/// A block for each `width` columns and `height` rows of each of `depth`.
LaunchConfig blocks(std::int64_t columns, std::int64_t width, std::int64_t rows,
                    std::int64_t height, std::int64_t depth, void* stream) {
  return {
      .grid = dim3(static_cast<unsigned>(divide_up(columns, width)),
                   static_cast<unsigned>(divide_up(rows, height)), static_cast<unsigned>(depth)),
      .block = kConvThreads,
      .stream = as_stream(stream)};
}

/// Calls run(tile, config of the launch) with the tile's type, for `columns` and `rows` of each of
/// `depth`.
template <class Run>
cudaError_t with_tile(ConvTile tile, std::int64_t columns, std::int64_t rows, std::int64_t depth,
                      void* stream, const Run& run) {
  const auto call = [&]<class Tile>(Tile shape) {
    return run(shape, blocks(columns, Tile::kWidth, rows, Tile::kHeight, depth, stream));
  };
  return tile == ConvTile::flat ? call(ConvFlatTile{}) : call(ConvSquareTile{});
}

/// Launches the kernel for one residue of each axis. `p` has what is the same for all of them, with
/// the addresses of whole tensors.
int gather(ConvGather p, const AxisGather& rows, const AxisGather& cols, std::int64_t batch,
           std::int64_t groups, std::int64_t channels, std::int64_t result_cols, int kernel_cols,
           void* stream) {
  const std::int64_t positions = batch * rows.count * cols.count;
  const std::int64_t depth = channels * rows.taps * cols.taps;
  if (!fits(positions) || !fits(depth)) return cudaErrorInvalidValue;
  p.rows = make_steps(rows);
  p.cols = make_steps(cols);
  p.w += rows.first_tap * kernel_cols + cols.first_tap;
  p.w_row = static_cast<int>(rows.tap_step) * kernel_cols;
  p.w_col = static_cast<int>(cols.tap_step);
  p.result += rows.first * result_cols + cols.first;
  p.result_row = static_cast<int>(rows.step * result_cols);
  p.result_col = static_cast<int>(cols.step);
  p.positions = static_cast<int>(positions);
  p.depth = static_cast<int>(depth);
  p.of_position = make_plane_divisors(rows.count, cols.count);
  p.of_tap = make_plane_divisors(rows.taps, cols.taps);
  const ConvTile tile = conv_tile(p.outputs);
  if (tile == ConvTile::none) {
    return code_of(launch(conv2d_few_outputs_kernel,
                          blocks(positions, kConvThreads, p.outputs, 1, groups, stream), p));
  }
  return code_of(with_tile(tile, positions, p.outputs, groups, stream,
                           [&]<class Tile>(Tile, const LaunchConfig& config) {
                             return launch(conv2d_gather_kernel<Tile>, config, p);
                           }));
}

}  // namespace

int conv2d(ConstVector x, ConstVector w, ConstVector bias, Vector y, detail::Conv2dSizes s,
           bool accumulate, void* stream) {
  ConvGather p{};
  p.source = x.data;
  p.source_image = s.channels * s.in_plane();
  p.source_group = s.group_channels() * s.in_plane();
  p.source_plane = static_cast<int>(s.in_plane());
  p.w = w.data;
  p.w_group = s.group_outputs() * s.taps();
  p.w_output = s.taps();
  p.w_channel = static_cast<int>(s.kernel());
  p.bias = bias.data;
  p.result = y.data;
  p.result_image = s.out_channels * s.out_plane();
  p.result_group = s.group_outputs() * s.out_plane();
  p.result_plane = static_cast<int>(s.out_plane());
  p.accumulate = accumulate;
  p.outputs = static_cast<int>(s.group_outputs());
  return gather(p, gather_output(s.rows), gather_output(s.cols), s.batch, s.groups,
                s.group_channels(), s.cols.out, static_cast<int>(s.cols.kernel), stream);
}

int conv2d_backward_input(ConstVector dy, ConstVector w, Vector dx, detail::Conv2dSizes s,
                          bool accumulate, void* stream) {
  ConvGather p{};
  p.source = dy.data;
  p.source_image = s.out_channels * s.out_plane();
  p.source_group = s.group_outputs() * s.out_plane();
  p.source_plane = static_cast<int>(s.out_plane());
  p.w = w.data;
  p.w_group = s.group_outputs() * s.taps();
  p.w_output = s.kernel();
  p.w_channel = static_cast<int>(s.taps());
  p.result = dx.data;
  p.result_image = s.channels * s.in_plane();
  p.result_group = s.group_channels() * s.in_plane();
  p.result_plane = static_cast<int>(s.in_plane());
  p.accumulate = accumulate;
  p.outputs = static_cast<int>(s.group_channels());
  for (std::int64_t i = 0; i < s.rows.stride; ++i) {
    for (std::int64_t j = 0; j < s.cols.stride; ++j) {
      const int code =
          gather(p, gather_input(s.rows, i), gather_input(s.cols, j), s.batch, s.groups,
                 s.group_outputs(), s.cols.in, static_cast<int>(s.cols.kernel), stream);
      if (code) return code;
    }
  }
  return 0;
}

int conv2d_backward_weight(ConstVector dy, ConstVector x, Vector dw, detail::Conv2dSizes s,
                           bool accumulate, void* stream) {
  const std::int64_t positions = s.batch * s.out_plane();
  if (!fits(positions) || !fits(s.taps())) return cudaErrorInvalidValue;
  ConvWeightGradient p{};
  p.dy = dy.data;
  p.dy_image = s.out_channels * s.out_plane();
  p.dy_group = s.group_outputs() * s.out_plane();
  p.dy_plane = static_cast<int>(s.out_plane());
  p.x = x.data;
  p.x_image = s.channels * s.in_plane();
  p.x_group = s.group_channels() * s.in_plane();
  p.x_plane = static_cast<int>(s.in_plane());
  p.rows = make_steps(gather_output(s.rows));
  p.cols = make_steps(gather_output(s.cols));
  p.sums = dw.data;
  p.accumulate = accumulate;
  p.outputs = static_cast<int>(s.group_outputs());
  p.taps = static_cast<int>(s.taps());
  p.positions = static_cast<int>(positions);
  p.of_position = make_plane_divisors(s.rows.out, s.cols.out);
  p.of_tap = make_plane_divisors(s.rows.kernel, s.cols.kernel);
  const ConvWeightConfig config =
      conv_weight_config({s.groups, s.group_outputs(), s.taps(), positions});
  p.chunks = config.chunks;
  p.chunk_positions = config.chunk_positions;
  if (config.tile == ConvTile::none) {
    return code_of(
        launch(conv2d_few_weights_kernel, blocks(p.taps, 1, p.outputs, 1, s.groups, stream), p));
  }
  const bool in_chunks = p.chunks > 1;
  if (in_chunks) {
    Workspace workspace;
    const auto size = static_cast<std::size_t>(p.chunks * dw.size);
    if (const int code = reserve_workspace(size, 0, stream, &workspace)) return code;
    p.sums = workspace.partials;
    p.sums_of_chunk = dw.size;
    p.accumulate = false;
  }
  const cudaError_t error = with_tile(config.tile, p.taps, p.outputs, s.groups * p.chunks, stream,
                                      [&]<class Tile>(Tile, const LaunchConfig& launch_config) {
                                        return launch(conv2d_weight_kernel<Tile>, launch_config, p);
                                      });
  if (error != cudaSuccess || !in_chunks) return code_of(error);
  return code_of(launch(conv2d_sum_chunks_kernel, blocks(dw.size, kConvThreads, 1, 1, 1, stream),
                        static_cast<const float*>(p.sums), p.chunks, dw, accumulate));
}

int conv2d_backward_bias(ConstMatrix dy, Vector db, bool accumulate, void* stream) {
  return code_of(
      launch(conv2d_backward_bias_kernel, blocks(db.size, 1, 1, 1, 1, stream), dy, db, accumulate));
}

}  // namespace lora::inline v0::cuda
