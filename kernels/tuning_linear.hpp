// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/tuning.hpp"

// Which shape of kernel a product of a linear layer gets: plain functions from the problem to a
// config, without a GPU. They look at the problem alone, never at the device, so that the order of
// the sums, and with it every bit of the result, is the same on every GPU.

namespace lora::inline v0::cuda {

/// y (batch, out) = x (batch, in) wᵀ, or one of its gradients.
struct LinearProblem {
  std::int64_t batch, in, out;
};

/// Up to this many rows of a batch, a layer is bound by reading the weight, not by arithmetic.
constexpr std::int64_t kThinBatch = 64;

/// Multiprocessors that the grids aim at: an H100 or H200.
constexpr std::int64_t kTargetBlocks = 132;

/// Rows of the weight that a warp takes at a time, in the forward and in the backward kernel.
constexpr int kRowsPerWarp = 4;

/// Columns of the weight that a warp covers.
constexpr int kColumnsPerWarp = 128;

inline bool is_thin(const LinearProblem& p) { return p.batch <= kThinBatch; }

constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

/// Whether x is what is large, and so yᵀ = w xᵀ is the thin product.
inline bool is_thin_transposed(const LinearProblem& p) { return !is_thin(p) && p.out <= 16; }

/// Whether the update of a matrix is better done by an element to a thread than by tiles: there are
/// few elements, or rows so short that most lanes of a tile would have no column.
inline bool is_narrow(std::int64_t rows, std::int64_t cols) {
  return rows * cols <= 1 << 15 || cols < 64;
}

/// The thin forward: `warps_out` groups of rows of the weight in a block, each read by `warps_in`
/// warps that share its columns; `batch_rows` rows of x are multiplied in one pass.
struct ForwardConfig {
  int batch_rows;
  int warps_out;
  int warps_in;
  int blocks;
  bool evict_first;

  bool operator==(const ForwardConfig&) const = default;
};

/// Most warps of a forward block: each thread may use 168 registers.
constexpr int kForwardWarps = 12;

/// Weights of more bytes leave nothing of themselves in the L2 cache for the backward pass, so they
/// need not push out what else is there. (50 or 60 MB on an H100 or H200, in two partitions.)
constexpr std::int64_t kKeepInCacheBytes = 32 << 20;

/// Sizes of a pass for which there is a forward kernel.
inline int forward_batch_rows(std::int64_t batch) {
  const std::int64_t passes = std::max<std::int64_t>(1, divide_up(batch, 16));
  const std::int64_t rows = divide_up(batch, passes);
  for (const int size : {1, 2, 4, 8, 10}) {
    if (rows <= size) return size;
  }
  return 16;
}

inline ForwardConfig forward_config(const LinearProblem& p) {
  const std::int64_t groups = divide_up(p.out, kRowsPerWarp);
  const std::int64_t steps = std::max<std::int64_t>(1, divide_up(p.in, kColumnsPerWarp));
  ForwardConfig config{};
  config.batch_rows = forward_batch_rows(p.batch);
  config.warps_out =
      static_cast<int>(std::clamp<std::int64_t>(divide_up(groups, kTargetBlocks), 1, 4));
  // Two steps of a warp are in flight at once; with few blocks each step gets a warp of its own,
  // because then latency is all there is to save.
  const std::int64_t steps_per_warp = 2 * groups <= kTargetBlocks ? 1 : 2;
  config.warps_in = static_cast<int>(
      std::min<std::int64_t>(divide_up(steps, steps_per_warp), kForwardWarps / config.warps_out));
  config.blocks = static_cast<int>(divide_up(groups, config.warps_out));
  config.evict_first = p.batch <= config.batch_rows && 4 * p.out * p.in > kKeepInCacheBytes;
  return config;
}

inline std::string to_string(const ForwardConfig& c) {
  return std::to_string(c.blocks) + " blocks of " + std::to_string(c.warps_out) + " x " +
         std::to_string(c.warps_in) + " warps, " + std::to_string(c.batch_rows) + " rows a pass" +
         (c.evict_first ? ", evict first" : "");
}

/// The thin backward: the weight is cut into blocks of rows × columns, one for each block of
/// threads, in which the warps take rows in turn, four at a time.
struct BackwardConfig {
  int batch_rows;
  int columns;
  int column_blocks;
  int rows;
  int row_blocks;
  int warps;

  bool operator==(const BackwardConfig&) const = default;
};

/// Most warps of a backward block, which with the sums of 16 rows of dx, with W, m, v and the
/// gradient of 16 elements needs more than the 168 registers a thread that 12 warps leave.
constexpr int backward_warps(int batch_rows) { return batch_rows > 10 ? 8 : 12; }

/// Sizes of a pass for which there is a backward kernel.
inline int backward_batch_rows(std::int64_t batch) {
  const std::int64_t rows = divide_up(batch, std::max<std::int64_t>(1, divide_up(batch, 16)));
  for (const int size : {1, 4, 10}) {
    if (rows <= size) return size;
  }
  return 16;
}

inline BackwardConfig backward_config(const LinearProblem& p) {
  BackwardConfig config{};
  config.batch_rows = backward_batch_rows(p.batch);
  const std::int64_t in = std::max<std::int64_t>(1, p.in);
  // An even share of the columns, in whole sectors of 32 bytes.
  config.columns = static_cast<int>(std::min<std::int64_t>(
      kColumnsPerWarp, round_up(divide_up(in, divide_up(in, kColumnsPerWarp)), 8)));
  config.column_blocks = static_cast<int>(divide_up(in, config.columns));
  const std::int64_t quads = std::max<std::int64_t>(1, divide_up(p.out, kRowsPerWarp));
  const std::int64_t most_row_blocks =
      std::max<std::int64_t>(1, kTargetBlocks / config.column_blocks);
  // Blocks of fewer rows save less than adding up their sums of dx costs.
  const std::int64_t quads_per_block = std::max(divide_up(quads, std::min(quads, most_row_blocks)),
                                                std::min<std::int64_t>(quads, 4));
  config.rows = static_cast<int>(kRowsPerWarp * quads_per_block);
  config.row_blocks = static_cast<int>(divide_up(quads, quads_per_block));
  config.warps =
      static_cast<int>(std::min<std::int64_t>(quads_per_block, backward_warps(config.batch_rows)));
  return config;
}

inline std::string to_string(const BackwardConfig& c) {
  return std::to_string(c.row_blocks) + " x " + std::to_string(c.column_blocks) + " blocks of " +
         std::to_string(c.rows) + " x " + std::to_string(c.columns) + ", " +
         std::to_string(c.warps) + " warps, " + std::to_string(c.batch_rows) + " rows a pass";
}

/// dh = scale dy B and, in the same reading of dy, the gradient of B: a block has `rows` rows of B
/// and kRankTile of its columns.
struct LowRankConfig {
  int rows;
  int row_blocks;
  int rank_blocks;
  bool adds_partials;  // the last block adds up the sums of dh, else a launch of its own does

  bool operator==(const LowRankConfig&) const = default;
};

constexpr int kGradientThreads = 256;
constexpr int kRankTile = 16;
constexpr int kLeastGradientRows = 32;
constexpr int kMostGradientRows = 128;

/// Elements of dy in a block's shared memory at a time.
constexpr int kStagedElements = 4096;

/// One block adds up so many partial sums in about the time of another launch: eight loads of each
/// of 256 threads, some 0.4 µs for 2048 of them. An estimate.
constexpr std::int64_t kPartialsOfOneBlock = 1 << 14;

/// Partial sums of dh that a workspace holds before blocks get more rows: 16 MB.
constexpr std::int64_t kMostPartials = 1 << 22;

inline LowRankConfig low_rank_config(std::int64_t batch, std::int64_t out, std::int64_t rank) {
  std::int64_t rows = kLeastGradientRows;
  const auto blocks = [&] { return std::max<std::int64_t>(1, divide_up(out, rows)); };
  while (rows < kMostGradientRows &&
         (blocks() > kTargetBlocks || blocks() * batch * rank > kMostPartials)) {
    rows *= 2;
  }
  LowRankConfig config{};
  config.rows = static_cast<int>(rows);
  config.row_blocks = static_cast<int>(blocks());
  config.rank_blocks = static_cast<int>(divide_up(rank, kRankTile));
  config.adds_partials =
      blocks() * batch * std::min<std::int64_t>(rank, kRankTile) <= kPartialsOfOneBlock;
  return config;
}

inline std::string to_string(const LowRankConfig& c) {
  return std::to_string(c.row_blocks) + " x " + std::to_string(c.rank_blocks) + " blocks of " +
         std::to_string(c.rows) + " rows" + (c.adds_partials ? "" : ", sums apart");
}

/// Ranks up to this are worth computing with by every block anew in the forward pass, see
/// lora_linear.cu, and A's rows up to this are updated by the last blocks of the backward pass:
/// there are only as many as ranges of columns, so more rows are better spread by a launch of their
/// own.
constexpr int kMaxFusedRank = 16;

/// The side of the square tile of C that a block of the tiled product computes.
struct GemmConfig {
  int tile;

  bool operator==(const GemmConfig&) const = default;
};

/// The large tile does most multiplications for each byte it loads; the small one is for matrices
/// that would otherwise leave multiprocessors without a block.
inline GemmConfig gemm_config(std::int64_t rows, std::int64_t columns) {
  return {divide_up(rows, 128) * divide_up(columns, 128) >= kTargetBlocks ? 128 : 64};
}

inline std::string to_string(const GemmConfig& c) {
  return "tiles of " + std::to_string(c.tile) + " x " + std::to_string(c.tile);
}

}  // namespace lora::inline v0::cuda
