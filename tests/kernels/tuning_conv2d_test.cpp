// SPDX-License-Identifier: MIT
#include "kernels/tuning_conv2d.hpp"

#include "support/catch.hpp"

using namespace lora::cuda;

TEST_CASE("a convolution's tile follows its outputs", "[tuning][conv2d]") {
  CHECK(conv_tile(1) == ConvTile::none);
  CHECK(conv_tile(8) == ConvTile::none);
  CHECK(conv_tile(9) == ConvTile::flat);
  CHECK(conv_tile(32) == ConvTile::flat);
  CHECK(conv_tile(33) == ConvTile::square);
}

TEST_CASE("the chunks of a weight's gradient cover all positions", "[tuning][conv2d]") {
  for (const std::int64_t groups : {1, 2, 64}) {
    for (const std::int64_t outputs : {1, 9, 32, 64, 512}) {
      for (const std::int64_t positions : {0, 1, 255, 256, 512, 3137, 50176, 1000003}) {
        const ConvWeightConfig c = conv_weight_config({groups, outputs, 144, positions});
        INFO(groups << " groups of " << outputs << " outputs, " << positions
                    << " positions: " << to_string(c));
        CHECK(c.chunks >= 1);
        CHECK(std::int64_t{c.chunks} * c.chunk_positions >= positions);
        CHECK((c.chunks == 1 || std::int64_t{c.chunks - 1} * c.chunk_positions < positions));
        CHECK((c.chunks == 1 || c.chunk_positions >= 256));
        CHECK((c.chunks == 1 || c.chunk_positions % 16 == 0));
      }
    }
  }
  CHECK(to_string(conv_weight_config({1, 32, 144, 64 * 196})) ==
        "tiles of 32 x 128, 49 chunks of 256 positions");
}
