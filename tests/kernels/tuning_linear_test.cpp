// SPDX-License-Identifier: MIT
#include "kernels/tuning_linear.hpp"

#include <algorithm>

#include "support/catch.hpp"

using namespace lora::cuda;

TEST_CASE("configs of the study's layers", "[kernels][tuning]") {
  CHECK(to_string(forward_config({10, 784, 1000})) == "125 blocks of 2 x 4 warps, 10 rows a pass");
  CHECK(to_string(forward_config({10, 1000, 1500})) == "125 blocks of 3 x 4 warps, 10 rows a pass");
  CHECK(to_string(forward_config({10, 1500, 1300})) == "109 blocks of 3 x 4 warps, 10 rows a pass");
  CHECK(to_string(forward_config({10, 1300, 10})) == "3 blocks of 1 x 11 warps, 10 rows a pass");
  CHECK(to_string(backward_config({10, 784, 1000})) ==
        "18 x 7 blocks of 56 x 112, 12 warps, 10 rows a pass");
  CHECK(to_string(backward_config({10, 1000, 1500})) ==
        "16 x 8 blocks of 96 x 128, 12 warps, 10 rows a pass");
  CHECK(to_string(backward_config({10, 1500, 1300})) ==
        "11 x 12 blocks of 120 x 128, 12 warps, 10 rows a pass");
  CHECK(to_string(backward_config({10, 1300, 10})) ==
        "1 x 11 blocks of 12 x 120, 3 warps, 10 rows a pass");
}

TEST_CASE("a forward config covers the layer and fits a block", "[kernels][tuning]") {
  for (const std::int64_t batch : {0, 1, 2, 5, 10, 11, 16, 17, 33, 64}) {
    for (const std::int64_t in : {0, 1, 127, 128, 129, 784, 1500, 16384}) {
      for (const std::int64_t out : {1, 3, 4, 5, 10, 528, 529, 1500, 100000}) {
        const ForwardConfig c = forward_config({batch, in, out});
        INFO("B=" << batch << " I=" << in << " O=" << out << ": " << to_string(c));
        CHECK(c.blocks * c.warps_out * kRowsPerWarp >= out);
        CHECK((c.blocks - 1) * c.warps_out * kRowsPerWarp < out);
        CHECK(c.warps_in >= 1);
        CHECK(c.warps_in * c.warps_out <= kForwardWarps);
        CHECK(divide_up(batch, c.batch_rows) == divide_up(batch, 16));
      }
    }
  }
}

TEST_CASE("a backward config covers the layer and fits a block", "[kernels][tuning]") {
  for (const std::int64_t batch : {1, 4, 10, 11, 64}) {
    for (const std::int64_t in : {0, 1, 7, 8, 127, 128, 129, 784, 1300, 16384}) {
      for (const std::int64_t out : {1, 4, 10, 1000, 1500, 50000}) {
        const BackwardConfig c = backward_config({batch, in, out});
        INFO("B=" << batch << " I=" << in << " O=" << out << ": " << to_string(c));
        CHECK(c.columns <= kColumnsPerWarp);
        CHECK(c.columns % 8 == 0);
        CHECK(c.columns * c.column_blocks >= in);
        CHECK(c.rows % kRowsPerWarp == 0);
        CHECK(c.rows * c.row_blocks >= out);
        CHECK(c.rows * (c.row_blocks - 1) < out);
        CHECK((c.warps >= 1 && c.warps <= backward_warps(c.batch_rows)));
        CHECK((c.row_blocks == 1 || c.row_blocks * c.column_blocks <= kTargetBlocks));
      }
    }
  }
}

TEST_CASE("weights that fill the L2 cache are not kept there", "[kernels][tuning]") {
  CHECK(!forward_config({10, 1500, 1300}).evict_first);
  CHECK(forward_config({1, 4096, 4096}).evict_first);
  CHECK(!forward_config({64, 4096, 4096}).evict_first);  // read again in the second pass
}

TEST_CASE("a product with few large tiles gets small ones", "[kernels][tuning]") {
  CHECK(to_string(gemm_config(4096, 4096)) == "tiles of 128 x 128");
  CHECK(to_string(gemm_config(1500, 1300)) == "tiles of 128 x 128");
  CHECK(to_string(gemm_config(1000, 784)) == "tiles of 64 x 64");
}

TEST_CASE("a low-rank config covers B and fits a block", "[kernels][tuning]") {
  CHECK(to_string(low_rank_config(10, 1000, 1)) == "32 x 1 blocks of 32 rows");
  CHECK(to_string(low_rank_config(10, 1500, 16)) == "47 x 1 blocks of 32 rows");
  CHECK(to_string(low_rank_config(10, 10, 1)) == "1 x 1 blocks of 32 rows");
  CHECK(to_string(low_rank_config(64, 1500, 16)) == "47 x 1 blocks of 32 rows, sums apart");
  CHECK(to_string(low_rank_config(4096, 4096, 64)) == "32 x 4 blocks of 128 rows, sums apart");
  static_assert(kMostGradientRows * kRankTile % kGradientThreads == 0);
  for (const std::int64_t batch : {0, 1, 10, 64, 65, 4096}) {
    for (const std::int64_t out : {0, 1, 31, 32, 33, 1000, 4224, 4225, 50000}) {
      for (const std::int64_t rank : {0, 1, 15, 16, 17, 64}) {
        const LowRankConfig c = low_rank_config(batch, out, rank);
        INFO("B=" << batch << " O=" << out << " R=" << rank << ": " << to_string(c));
        CHECK((c.rows >= kLeastGradientRows && c.rows <= kMostGradientRows));
        CHECK(kStagedElements % c.rows == 0);
        CHECK(c.row_blocks >= 1);
        CHECK(std::int64_t{c.rows} * c.row_blocks >= out);
        CHECK(std::int64_t{c.rows} * (c.row_blocks - 1) < std::max<std::int64_t>(out, 1));
        CHECK(kRankTile * c.rank_blocks >= rank);
        CHECK(kRankTile * (c.rank_blocks - 1) < std::max<std::int64_t>(rank, 1));
      }
    }
  }
}
