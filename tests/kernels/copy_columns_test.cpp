// SPDX-License-Identifier: MIT
#include <lora/ops/copy_columns.hpp>

#include "kernels/support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("put_columns and take_columns give the CPU's bits", "[kernels][copy_columns]") {
  for (const auto& [rows, cols] : kShapes) {
    for (const index_t first : {0, 3, 4}) {
      for (const index_t behind : {0, 1}) {
        INFO(rows << " rows, " << cols << " columns between " << first << " and " << behind);
        const auto x = random_tensor<float>({rows, cols}, 1);
        Tensor<float> y = random_tensor<float>({rows, first + cols + behind}, 2), gpu_y = on_gpu(y);
        Tensor<float> gpu_back;
        ops::put_columns(x, y, first);
        ops::put_columns(on_gpu(x), gpu_y, first);
        CHECK(same_bits(on_cpu(gpu_y), y));
        ops::take_columns(gpu_y, gpu_back, first, cols);
        CHECK(same_bits(on_cpu(gpu_back), x));
      }
    }
  }
}
