// SPDX-License-Identifier: MIT
#include "kernels/causal_attention.cuh"

#include <cmath>
#include <cstddef>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

AttentionInputs attention_inputs(ConstMatrix q, ConstMatrix k, ConstMatrix v, std::int64_t heads,
                                 std::int64_t length) {
  const std::int64_t columns = q.cols / heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(columns));
  return {q,
          k,
          v,
          {static_cast<int>(length), static_cast<int>(heads), static_cast<int>(columns), scale}};
}

/// Calls f with the tile for heads of that many columns.
template <class F>
int with_tile(int columns, const F& f) {
  if (columns <= 16) return f(AttentionTile<16>{});
  if (columns <= 32) return f(AttentionTile<32>{});
  if (columns <= 64) return f(AttentionTile<64>{});
  if (columns <= 128) return f(AttentionTile<128>{});
  return static_cast<int>(cudaErrorInvalidValue);
}

/// A block for each tile of each of `pairs` heads of sequences.
template <class Tile>
LaunchConfig attention_launch(std::int64_t pairs, int length, int operands, void* stream) {
  return {.grid = static_cast<unsigned>(pairs * divide_up(length, Tile::kRows)),
          .block = kAttentionThreads,
          .shared_bytes = attention_bytes<Tile>(operands),
          .stream = as_stream(stream)};
}

}  // namespace

int causal_attention(ConstMatrix q, ConstMatrix k, ConstMatrix v, std::int64_t heads, Matrix y,
                     Matrix log_sum_exp, void* stream) {
  const AttentionInputs in = attention_inputs(q, k, v, heads, log_sum_exp.cols);
  return with_tile(in.shape.columns, [&]<class Tile>(Tile) {
    return code_of(launch(causal_attention_kernel<Tile>,
                          attention_launch<Tile>(log_sum_exp.rows, in.shape.length, 3, stream), in,
                          y, log_sum_exp));
  });
}

int causal_attention_backward(ConstMatrix dy, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                              ConstMatrix y, ConstMatrix log_sum_exp, std::int64_t heads, Matrix dq,
                              Matrix dk, Matrix dv, void* stream) {
  const AttentionInputs in = attention_inputs(q, k, v, heads, log_sum_exp.cols);
  Workspace workspace;
  const auto queries = static_cast<std::size_t>(log_sum_exp.rows * log_sum_exp.cols);
  if (const int code = reserve_workspace(queries, 0, stream, &workspace)) return code;
  return with_tile(in.shape.columns, [&]<class Tile>(Tile) {
    const LaunchConfig config =
        attention_launch<Tile>(log_sum_exp.rows, in.shape.length, 4, stream);
    const int code = code_of(launch(causal_attention_backward_q_kernel<Tile>, config, in, dy, y,
                                    log_sum_exp, workspace.partials, dq));
    if (code != 0) return code;
    return code_of(launch(causal_attention_backward_kv_kernel<Tile>, config, in, dy, log_sum_exp,
                          workspace.partials, dk, dv));
  });
}

}  // namespace lora::inline v0::cuda
