// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

// How many threads work on what: plain functions from a problem to a config, without a GPU. The
// number of multiprocessors decides only how many blocks share independent elements or rows, never
// the order of a sum, so a result has the same bits on every GPU.

namespace lora::inline v0::cuda {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Threads that a multiprocessor holds at once, from compute capability 8.0 on: 1536 or 2048.
constexpr int kResidentThreads = 2048;

/// Independent elements.
struct ElementwiseProblem {
  std::int64_t size;
  bool aligned;  // every operand begins at a multiple of 16 bytes
  int multiprocessors;
};

struct ElementwiseConfig {
  int width;  // elements of a load: 4 or 1
  int threads;
  unsigned blocks;

  bool operator==(const ElementwiseConfig&) const = default;
};

/// A grid that fills the device once and strides over the rest.
inline ElementwiseConfig elementwise_config(const ElementwiseProblem& p) {
  constexpr int kThreads = 256;
  const int width = p.aligned ? 4 : 1;
  const std::int64_t needed = divide_up(divide_up(p.size, width), kThreads);
  const std::int64_t most = std::int64_t{p.multiprocessors} * (kResidentThreads / kThreads);
  return {width, kThreads, static_cast<unsigned>(std::min(needed, most))};
}

inline std::string to_string(const ElementwiseConfig& c) {
  return std::to_string(c.blocks) + " blocks of " + std::to_string(c.threads) + " threads, " +
         std::to_string(c.width) + " elements a load";
}

/// Independent rows, each of which is reduced to a number.
struct RowsProblem {
  std::int64_t rows, cols;
  int multiprocessors;
};

struct RowsConfig {
  bool block_per_row;  // else a warp
  int threads;
  unsigned blocks;

  bool operator==(const RowsConfig&) const = default;
};

/// Rows of up to this many columns get a warp: 32 elements for each of its lanes.
constexpr std::int64_t kWarpRowColumns = 1024;

/// Threads for a very long row: two such blocks fit on every multiprocessor.
constexpr int kLongRowThreads = 768;

inline RowsConfig rows_config(const RowsProblem& p) {
  if (p.cols <= kWarpRowColumns) {
    constexpr int kWarps = 8;
    const int warps = static_cast<int>(std::clamp<std::int64_t>(p.rows, 1, kWarps));
    const std::int64_t most = std::int64_t{p.multiprocessors} * (kResidentThreads / 32 / warps);
    const std::int64_t blocks = std::min(divide_up(p.rows, warps), most);
    return {false, 32 * warps, static_cast<unsigned>(blocks)};
  }
  const int threads = p.cols >= 8 * kWarpRowColumns ? kLongRowThreads : 256;
  const std::int64_t most = std::int64_t{p.multiprocessors} * (kResidentThreads / threads);
  return {true, threads, static_cast<unsigned>(std::min(p.rows, most))};
}

inline std::string to_string(const RowsConfig& c) {
  return std::to_string(c.blocks) + " blocks of " + std::to_string(c.threads) + " threads, a " +
         (c.block_per_row ? "block" : "warp") + " for a row";
}

/// Rows of this many at most have their losses summed in the shared memory of one block.
constexpr std::int64_t kOneBlockRows = 1024;

struct SoftmaxConfig {
  RowsConfig rows;
  bool one_block;  // else the last of many blocks sums the losses

  bool operator==(const SoftmaxConfig&) const = default;
};

/// One block takes what it reads in a few microseconds, the time that a launch costs.
inline SoftmaxConfig softmax_config(const RowsProblem& p) {
  constexpr std::int64_t kOneBlockElements = 32768;
  const bool is_small =
      p.cols <= kWarpRowColumns && p.rows <= kOneBlockRows && p.rows * p.cols <= kOneBlockElements;
  if (p.rows == 0 || is_small) {
    const int warps = static_cast<int>(std::clamp<std::int64_t>(p.rows, 1, 32));
    return {{false, 32 * warps, 1}, true};
  }
  return {rows_config(p), false};
}

inline std::string to_string(const SoftmaxConfig& c) {
  return to_string(c.rows) + (c.one_block ? ", which is all" : ", the last sums the losses");
}

/// Sums over the rows of a matrix: a thread for a column and for every `lanes`-th row.
struct ColumnSumsConfig {
  int columns;  // of a block
  int lanes;
  unsigned blocks;

  bool operator==(const ColumnSumsConfig&) const = default;
};

/// Up to 32 rows are summed one after the other, as the CPU does, and to the same bits. More are
/// shared, and then added in a tree; narrow matrices of many rows give a block fewer columns.
inline ColumnSumsConfig column_sums_config(std::int64_t rows, std::int64_t cols) {
  constexpr int kFewRows = 32;
  const int columns = cols <= 8 ? 8 : 32;
  int lanes = 1;
  while (lanes * kFewRows < rows && lanes * columns < 1024) lanes *= 2;
  const int wide = lanes == 1 ? 128 : columns;
  return {wide, lanes, static_cast<unsigned>(divide_up(cols, wide))};
}

inline std::string to_string(const ColumnSumsConfig& c) {
  return std::to_string(c.blocks) + " blocks of " + std::to_string(c.columns) + " columns x " +
         std::to_string(c.lanes) + " lanes";
}

/// W (rows, cols) += B A: a thread for `width` neighbouring columns of kMergeRows rows.
struct MergeConfig {
  int width;
  int threads_x, threads_y;
  unsigned blocks_x, blocks_y;

  bool operator==(const MergeConfig&) const = default;
};

/// Rows of a thread: a pack of A is read once for so many products.
constexpr int kMergeRows = 8;

inline MergeConfig merge_config(std::int64_t rows, std::int64_t cols, bool aligned) {
  constexpr int kThreadsX = 32;
  constexpr int kThreadsY = 4;
  constexpr std::int64_t kMostBlocksY = 65535;
  const int width = aligned ? 4 : 1;
  const std::int64_t blocks_y = divide_up(rows, kThreadsY * kMergeRows);
  return {width, kThreadsX, kThreadsY, static_cast<unsigned>(divide_up(cols, kThreadsX * width)),
          static_cast<unsigned>(std::min(blocks_y, kMostBlocksY))};
}

inline std::string to_string(const MergeConfig& c) {
  return std::to_string(c.blocks_x) + " x " + std::to_string(c.blocks_y) + " blocks of " +
         std::to_string(c.threads_x) + " x " + std::to_string(c.threads_y) + " threads, " +
         std::to_string(c.width) + " columns each";
}

/// Rows of bytes that become rows of floats: a block for a row at a time.
struct GatherConfig {
  int width;
  int threads;
  unsigned blocks;

  bool operator==(const GatherConfig&) const = default;
};

inline GatherConfig gather_config(const RowsProblem& p, bool aligned) {
  const int width = aligned ? 4 : 1;
  const std::int64_t warps = std::clamp<std::int64_t>(divide_up(p.cols, 32 * width), 1, 8);
  const std::int64_t most = std::int64_t{p.multiprocessors} * (kResidentThreads / 32 / warps);
  return {width, static_cast<int>(32 * warps), static_cast<unsigned>(std::min(p.rows, most))};
}

inline std::string to_string(const GatherConfig& c) {
  return std::to_string(c.blocks) + " blocks of " + std::to_string(c.threads) + " threads, " +
         std::to_string(c.width) + " pixels each";
}

/// Sums over rows of products of two matrices: a block for 32 columns of a chunk of the rows.
struct NormSumsConfig {
  unsigned blocks;  // of columns
  unsigned chunks;

  bool operator==(const NormSumsConfig&) const = default;
};

constexpr int kNormSumWarps = 8;

/// A warp sums eight rows or more, and there are about a thousand blocks where there is work for
/// them.
inline NormSumsConfig norm_sums_config(std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kRows = 8 * kNormSumWarps;
  constexpr std::int64_t kBlocks = 1024;
  constexpr std::int64_t kMostChunks = 128;
  const std::int64_t blocks = divide_up(cols, 32);
  const std::int64_t wanted = divide_up(kBlocks, std::max<std::int64_t>(1, blocks));
  const std::int64_t chunks =
      std::clamp<std::int64_t>(std::min(wanted, rows / kRows), 1, kMostChunks);
  return {static_cast<unsigned>(blocks), static_cast<unsigned>(chunks)};
}

inline std::string to_string(const NormSumsConfig& c) {
  return std::to_string(c.blocks) + " blocks of columns x " + std::to_string(c.chunks) +
         " chunks of rows";
}

}  // namespace lora::inline v0::cuda
