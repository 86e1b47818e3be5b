// SPDX-License-Identifier: MIT
#include "kernels/tuning.hpp"

#include "support/catch.hpp"

using namespace lora::cuda;

TEST_CASE("elementwise: enough blocks for the elements, not more than the device holds",
          "[tuning]") {
  CHECK(elementwise_config({0, true, 132}) == ElementwiseConfig{4, 256, 0});
  CHECK(elementwise_config({1, true, 132}) == ElementwiseConfig{4, 256, 1});
  CHECK(elementwise_config({1024, true, 132}) == ElementwiseConfig{4, 256, 1});
  CHECK(elementwise_config({1025, true, 132}) == ElementwiseConfig{4, 256, 2});
  CHECK(elementwise_config({1025, false, 132}) == ElementwiseConfig{1, 256, 5});
  CHECK(elementwise_config({std::int64_t{1} << 40, true, 132}) == ElementwiseConfig{4, 256, 1056});
}

TEST_CASE("rows: a warp for short ones, a block for long ones", "[tuning]") {
  CHECK(rows_config({10, 10, 132}) == RowsConfig{false, 256, 2});
  CHECK(rows_config({3, 1024, 132}) == RowsConfig{false, 96, 1});
  CHECK(rows_config({3, 1025, 132}) == RowsConfig{true, 256, 3});
  CHECK(rows_config({8192, 32000, 132}) == RowsConfig{true, 768, 264});
  CHECK(rows_config({0, 10, 132}).blocks == 0);
}

TEST_CASE("softmax: one block for what it can do quickly", "[tuning]") {
  CHECK(softmax_config({10, 10, 132}) == SoftmaxConfig{{false, 320, 1}, true});
  CHECK(softmax_config({0, 32000, 132}).one_block);
  CHECK(softmax_config({1024, 32, 132}).one_block);
  CHECK_FALSE(softmax_config({1025, 1, 132}).one_block);
  CHECK_FALSE(softmax_config({1, 1025, 132}).one_block);
  CHECK(softmax_config({8192, 32000, 132}) == SoftmaxConfig{{true, 768, 264}, false});
}

TEST_CASE("column sums: a small batch is summed as the CPU does it", "[tuning]") {
  CHECK(column_sums_config(10, 1000) == ColumnSumsConfig{128, 1, 8});
  CHECK(column_sums_config(33, 1000) == ColumnSumsConfig{32, 2, 32});
  CHECK(column_sums_config(8192, 4096) == ColumnSumsConfig{32, 32, 128});
  CHECK(column_sums_config(8192, 8) == ColumnSumsConfig{8, 128, 1});
}

TEST_CASE("merge and gather", "[tuning]") {
  CHECK(merge_config(1000, 784, true) == MergeConfig{4, 32, 4, 7, 32});
  CHECK(merge_config(std::int64_t{1} << 40, 784, true).blocks_y == 65535);
  CHECK(gather_config({10, 784, 132}, true) == GatherConfig{4, 224, 10});
  CHECK(gather_config({10, 0, 132}, true) == GatherConfig{4, 32, 10});
}

TEST_CASE("a config prints itself", "[tuning]") {
  CHECK(to_string(elementwise_config({1000, true, 132})) ==
        "1 blocks of 256 threads, 4 elements a load");
  CHECK(to_string(softmax_config({8192, 32000, 132})) ==
        "264 blocks of 768 threads, a block for a row, the last sums the losses");
  CHECK(to_string(column_sums_config(10, 1000)) == "8 blocks of 128 columns x 1 lanes");
  CHECK(to_string(merge_config(1000, 784, true)) ==
        "7 x 32 blocks of 32 x 4 threads, 4 columns each");
  CHECK(to_string(gather_config({10, 784, 132}, true)) ==
        "10 blocks of 224 threads, 4 pixels each");
}

TEST_CASE("sums of a norm's gradients: chunks of rows where columns are few", "[tuning]") {
  CHECK(norm_sums_config(0, 10) == NormSumsConfig{1, 1});
  CHECK(norm_sums_config(127, 10) == NormSumsConfig{1, 1});
  CHECK(norm_sums_config(128, 33) == NormSumsConfig{2, 2});
  CHECK(norm_sums_config(4096, 1024) == NormSumsConfig{32, 32});
  CHECK(norm_sums_config(1 << 20, 64) == NormSumsConfig{2, 128});
  CHECK(norm_sums_config(8192, 65536) == NormSumsConfig{2048, 1});
}
