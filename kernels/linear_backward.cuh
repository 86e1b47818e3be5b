// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/device/quad.cuh"
#include "kernels/linear_backward_parts.cuh"
#include "kernels/runtime.hpp"
#include "kernels/tuning_linear.hpp"
#include "kernels/weight_sinks.cuh"
#include "kernels/workspace.hpp"

// The backward pass of a linear layer for batches of few rows, in one visit of the weight:
//     dx = dy W (+ dh A), made 0 where the ReLU in front gave 0, and dyᵀ x to a sink that updates
//     W.
// Every element of W (and of m and v) is read once and, with a sink, written once. Beside that move
// dy, x and dx, and twice the partial sums of dx: 8 row_blocks B I bytes, which stay in L2.

namespace lora::inline v0::cuda {

/// Block (i, j) takes the columns [i columns, …) and the rows [j rows, …) of W; kBatch rows of dx
/// are summed in registers at a time, 0: dx is not wanted. In the last pass over the batch, or the
/// only, the gradient of each four by four elements is summed over the whole batch in order, so the
/// update sees the bits that a separate launch would, and W, m and v go back.
///
/// `bias`, where it has a first matrix, takes the sum of dy over the batch, by the blocks of the
/// first columns.
///
/// The sums of the blocks of one range of columns are added by the last of them to arrive, in the
/// order of the blocks, not of arrival: the bits are the same every time. A second kernel would do
/// it with more blocks but costs another launch, more than the 8 row_blocks B columns bytes take.
///
/// `low_rank`, where it is a sink, takes dhᵀ x and changes A, by the blocks that finish a range of
/// columns: every block that computes with the range's old A has arrived by then.
template <int kBatch, class Sink, class LowRankSink>
__global__ void __launch_bounds__(backward_warps(kBatch) * kWarpSize, 1)
    linear_backward_kernel(BackwardArguments p, Sink sink, Sink bias, LowRankSink low_rank) {
  constexpr bool kHasSink = Sink::kStates > 0;
  constexpr bool kChangesLowRank = LowRankSink::kStates > 0;
  LORA_DYNAMIC_SHARED_MEMORY(float, shared);
  LORA_SHARED_MEMORY(typename Sink::Step, shared_step, 1);

  const int thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int lane = thread % kWarpSize;
  const int warp = thread / kWarpSize;
  const int warps = threads / kWarpSize;
  const int first_column = static_cast<int>(blockIdx.x) * p.columns;
  const int columns = min(p.columns, p.in - first_column);
  const int first_row = static_cast<int>(blockIdx.y) * p.rows;
  const int end_row = min(first_row + p.rows, p.out);
  const int row_blocks = static_cast<int>(gridDim.y);
  constexpr int kPass = kBatch > 0 ? kBatch : 1;
  const int padded_batch = (p.batch + kPass - 1) / kPass * kPass;

  float* const dy = shared;
  float* const x = dy + min(p.rows, kChunkRows) * padded_batch;
  float* const dx_sums = x + (kHasSink ? p.batch * kWarpColumns : 0);

  if constexpr (kHasSink) {
    if (thread == 0) shared_step[0] = sink.step();
    for (int i = thread; i < p.batch * kWarpColumns; i += threads) {
      const int m = i / kWarpColumns;
      const int c = i % kWarpColumns;
      x[m * kWarpColumns + lane_slot(p.vector, c)] =
          c < columns ? p.x[m * p.x_stride + first_column + c] : 0.0f;
    }
  }

  for (int first = 0; first == 0 || (kBatch > 0 && first < p.batch); first += kPass) {
    [[maybe_unused]] const bool is_last_pass = kBatch == 0 || first + kBatch >= p.batch;
    float4 sum[kBatch > 0 ? kBatch : 1] = {};
    for (int chunk = first_row; chunk < end_row; chunk += kChunkRows) {
      const int chunk_rows = min(kChunkRows, end_row - chunk);
      if (first == 0 || p.rows > kChunkRows) {
        if (first > 0 || chunk > first_row) __syncthreads();
        stage_factors(p, chunk, chunk_rows, padded_batch, dy);
        __syncthreads();
      }
      for (int row = kRowsPerWarp * warp; row < chunk_rows; row += kRowsPerWarp * warps) {
        const int rows = chunk_rows - row;
        const float4* const factors =
            reinterpret_cast<const float4*>(dy) + row / kRowsPerWarp * padded_batch;
        Quad states[kHasSink ? Sink::kStates : 1] = {};
        if constexpr (kHasSink) {
          if (kBatch > 0 || sink.reads()) {
#pragma unroll
            for (int i = 0; i < Sink::kStates; ++i) {
              if (i > 0 && !is_last_pass) break;
              const float* const from = sink.row(i, chunk + row) + first_column;
              if (p.vector) {
                load_quad<true>(from, sink.stride[i], rows, columns, lane, states[i]);
              } else {
                load_quad<false>(from, sink.stride[i], rows, columns, lane, states[i]);
              }
            }
          }
        } else {
          const float* const from = p.w + (chunk + row) * p.w_stride + first_column;
          if (p.vector) {
            load_quad<true>(from, p.w_stride, rows, columns, lane, states[0]);
          } else {
            load_quad<false>(from, p.w_stride, rows, columns, lane, states[0]);
          }
        }
        if constexpr (kBatch > 0) {
#pragma unroll
          for (int m = 0; m < kBatch; ++m) {
            const float4 factor = factors[first + m];
            multiply_add(factor.x, states[0].row[0], sum[m]);
            multiply_add(factor.y, states[0].row[1], sum[m]);
            multiply_add(factor.z, states[0].row[2], sum[m]);
            multiply_add(factor.w, states[0].row[3], sum[m]);
          }
        }
        if constexpr (kHasSink) {
          if (!is_last_pass) continue;
          Quad gradient = {};
          for (int m = 0; m < p.batch; ++m) {
            const float4 factor = factors[m];
            const float4 v = reinterpret_cast<const float4*>(x)[m * kWarpSize + lane];
            multiply_add(factor.x, v, gradient.row[0]);
            multiply_add(factor.y, v, gradient.row[1]);
            multiply_add(factor.z, v, gradient.row[2]);
            multiply_add(factor.w, v, gradient.row[3]);
          }
          const typename Sink::Step step = shared_step[0];
#pragma unroll
          for (int r = 0; r < kRowsPerWarp; ++r) {
            update_element(step, gradient.row[r].x, states, r, &float4::x);
            update_element(step, gradient.row[r].y, states, r, &float4::y);
            update_element(step, gradient.row[r].z, states, r, &float4::z);
            update_element(step, gradient.row[r].w, states, r, &float4::w);
          }
#pragma unroll
          for (int i = 0; i < Sink::kStates; ++i) {
            float* const to = sink.row(i, chunk + row) + first_column;
            if (p.vector) {
              store_quad<true>(to, sink.stride[i], rows, columns, lane, states[i]);
            } else {
              store_quad<false>(to, sink.stride[i], rows, columns, lane, states[i]);
            }
          }
        }
      }
    }
    if constexpr (kBatch > 0) {
      const int batch = min(kBatch, p.batch - first);
      add_low_rank<kBatch, kChangesLowRank>(p, first, batch, first_column, columns, warp, warps,
                                            lane, sum);
#pragma unroll
      for (int m = 0; m < kBatch; ++m) {
        reinterpret_cast<float4*>(dx_sums)[(warp * kBatch + m) * kWarpSize + lane] = sum[m];
      }
      __syncthreads();
      for (int i = thread; i < batch * kWarpSize; i += threads) {
        float4 total = reinterpret_cast<const float4*>(dx_sums)[i];
        for (int j = 1; j < warps; ++j) {
          total = add(total, reinterpret_cast<const float4*>(dx_sums)[j * kBatch * kWarpSize + i]);
        }
        const int m = first + i / kWarpSize;
        if (row_blocks == 1) {
          store_dx(p, m, first_column, columns, i % kWarpSize, total);
        } else {
          partial_row(p, static_cast<int>(blockIdx.y), m)[i % kWarpSize] = total;
        }
      }
      __syncthreads();
    }
  }
  if constexpr (kHasSink) {
    if (bias.data[0] != nullptr && blockIdx.x == 0) update_bias(p, bias, first_row, end_row);
  }
  if constexpr (kBatch > 0) {
    if (row_blocks > 1) {
      if (!is_last_block(p.workspace.arrivals + blockIdx.x, gridDim.y)) return;
      for (int i = thread; i < p.batch * kWarpSize; i += threads) {
        const int m = i / kWarpSize;
        float4 total = __ldcg(partial_row(p, 0, m) + i % kWarpSize);
#pragma unroll 8
        for (int j = 1; j < row_blocks; ++j) {
          total = add(total, __ldcg(partial_row(p, j, m) + i % kWarpSize));
        }
        store_dx(p, m, first_column, columns, i % kWarpSize, total);
      }
    }
    if constexpr (kChangesLowRank) update_low_rank(p, low_rank, first_column, columns);
  }
}

/// The operands of the thin backward pass; `w` is what dx is computed from.
inline BackwardArguments backward_arguments(ConstMatrix dy, ConstMatrix x, ConstMatrix w,
                                            ConstMatrix relu_output, Matrix dx) {
  BackwardArguments p{};
  p.dy = dy.data;
  p.dy_stride = dy.stride;
  p.x = x.data;
  p.x_stride = x.stride;
  p.w = w.data;
  p.w_stride = w.stride;
  p.relu_output = relu_output.data;
  p.relu_stride = relu_output.stride;
  p.dx = dx.data;
  p.dx_stride = dx.stride;
  p.batch = static_cast<int>(dy.rows);
  p.out = static_cast<int>(w.rows);
  p.in = static_cast<int>(w.cols);
  p.vector = has_vector_rows(w);
  return p;
}

/// The same for a layer with an adapter: dx = dy w + dh a.
inline BackwardArguments low_rank_backward_arguments(ConstMatrix dy, ConstMatrix x, ConstMatrix w,
                                                     ConstMatrix dh, ConstMatrix a,
                                                     ConstMatrix relu_output, Matrix dx) {
  BackwardArguments p = backward_arguments(dy, x, w, relu_output, dx);
  p.dh = dh.data;
  p.dh_stride = dh.stride;
  p.a = a.data;
  p.a_stride = a.stride;
  p.rank = static_cast<int>(a.rows);
  p.vector = p.vector && has_vector_rows(a);
  return p;
}

template <int kBatch, class Sink, class LowRankSink>
cudaError_t launch_backward_pass(BackwardArguments& p, const BackwardConfig& config,
                                 const Sink& sink, const Sink& bias, const LowRankSink& low_rank,
                                 cudaStream_t stream) {
  const auto batch = static_cast<std::size_t>(p.batch);
  const auto padded = static_cast<std::size_t>(round_up(p.batch, kBatch > 0 ? kBatch : 1));
  const auto warps = static_cast<std::size_t>(config.warps);
  const std::size_t floats = static_cast<std::size_t>(std::min(config.rows, kChunkRows)) * padded +
                             (Sink::kStates > 0 ? batch * kWarpColumns : 0) +
                             warps * kBatch * kWarpColumns;
  constexpr std::size_t kLeast = 4;  // an empty batch has no use for any
  const LaunchConfig launch_config{
      dim3(static_cast<unsigned>(config.column_blocks), static_cast<unsigned>(config.row_blocks)),
      static_cast<unsigned>(config.warps * kWarpSize), std::max(floats, kLeast) * sizeof(float),
      stream};
  return launch(linear_backward_kernel<kBatch, Sink, LowRankSink>, launch_config, p, sink, bias,
                low_rank);
}

/// The sink alone, without dx.
template <class Sink>
int launch_sink(BackwardArguments p, const Sink& sink, const Sink& bias, void* stream) {
  if (p.out == 0) return cudaSuccess;
  const BackwardConfig config = backward_config({p.batch, p.in, p.out});
  p.columns = config.columns;
  p.rows = config.rows;
  return code_of(launch_backward_pass<0>(p, config, sink, bias, NoSink{}, as_stream(stream)));
}

/// dx, unless it is null or the batch is empty, and the sink. `low_rank` only with a dx.
template <class Sink, class LowRankSink = NoSink>
int launch_backward(BackwardArguments p, const Sink& sink, const Sink& bias, void* stream,
                    const LowRankSink& low_rank = {}) {
  if (p.dx == nullptr || p.batch == 0) {
    if constexpr (Sink::kStates > 0) {
      return launch_sink(p, sink, bias, stream);
    } else {
      return cudaSuccess;
    }
  }
  const BackwardConfig config = backward_config({p.batch, p.in, p.out});
  p.columns = config.columns;
  p.rows = config.rows;
  if (config.row_blocks > 1) {
    const std::size_t blocks = static_cast<std::size_t>(config.column_blocks) *
                               static_cast<std::size_t>(config.row_blocks);
    const int error =
        reserve_workspace(blocks * static_cast<std::size_t>(p.batch) * kWarpColumns,
                          static_cast<std::size_t>(config.column_blocks), stream, &p.workspace);
    if (error != cudaSuccess) return error;
  }
  const auto launch_with = [&]<int kBatch>(std::integral_constant<int, kBatch>) {
    return code_of(
        launch_backward_pass<kBatch>(p, config, sink, bias, low_rank, as_stream(stream)));
  };
  switch (config.batch_rows) {
    case 1:
      return launch_with(std::integral_constant<int, 1>{});
    case 4:
      return launch_with(std::integral_constant<int, 4>{});
    case 10:
      return launch_with(std::integral_constant<int, 10>{});
    default:
      return launch_with(std::integral_constant<int, 16>{});
  }
}

}  // namespace lora::inline v0::cuda
