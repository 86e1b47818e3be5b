// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/tuning.hpp"

// Which kernel a product of a convolution gets, from its sizes alone: the order of the sums, and
// with it every bit of the result, is the same on every GPU.

namespace lora::inline v0::cuda {

enum class ConvTile {
  none,   // a thread or a block for an element
  flat,   // 32 outputs by 128 positions or taps
  square  // 64 by 64
};

/// For the outputs of one group. A tile would be mostly empty where a convolution is depthwise, or
/// gives the few ranks of a LoRA.
inline ConvTile conv_tile(std::int64_t outputs) {
  return outputs <= 8 ? ConvTile::none : outputs <= 32 ? ConvTile::flat : ConvTile::square;
}

/// The gradient of a weight: `groups` times (outputs, taps), each a sum over `positions`.
struct ConvWeightProblem {
  std::int64_t groups, outputs, taps, positions;
};

struct ConvWeightConfig {
  ConvTile tile;
  int chunks;           // whose sums are added in order
  int chunk_positions;  // of each but the last

  bool operator==(const ConvWeightConfig&) const = default;
};

/// As many chunks as fill a large device with blocks, but none so short that it costs more to add
/// its sums than to have them.
inline ConvWeightConfig conv_weight_config(const ConvWeightProblem& p) {
  constexpr std::int64_t kBlocks = 512;
  constexpr std::int64_t kFewestPositions = 256;
  constexpr std::int64_t kDepth = 16;  // of a step
  const ConvTile tile = conv_tile(p.outputs);
  if (tile == ConvTile::none) return {tile, 1, static_cast<int>(p.positions)};
  const std::int64_t height = tile == ConvTile::flat ? 32 : 64;
  const std::int64_t width = tile == ConvTile::flat ? 128 : 64;
  const std::int64_t tiles = p.groups * divide_up(p.outputs, height) * divide_up(p.taps, width);
  const std::int64_t most =
      std::min(kBlocks / std::max<std::int64_t>(tiles, 1), p.positions / kFewestPositions);
  const std::int64_t wanted = std::max<std::int64_t>(most, 1);
  const std::int64_t length =
      divide_up(std::max<std::int64_t>(p.positions, 1), wanted * kDepth) * kDepth;
  const std::int64_t chunks = std::max<std::int64_t>(divide_up(p.positions, length), 1);
  return {tile, static_cast<int>(chunks), static_cast<int>(length)};
}

inline std::string to_string(const ConvWeightConfig& c) {
  const char* const tile = c.tile == ConvTile::none   ? "a block for an element"
                           : c.tile == ConvTile::flat ? "tiles of 32 x 128"
                                                      : "tiles of 64 x 64";
  return std::string(tile) + ", " + std::to_string(c.chunks) + " chunks of " +
         std::to_string(c.chunk_positions) + " positions";
}

}  // namespace lora::inline v0::cuda
