// SPDX-License-Identifier: MIT
#include <lora/ops/linear.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

TEST_CASE("the bias gradient of small integers is exact", "[kernels][linear_backward_bias]") {
  for (const index_t rows : {0, 1, 10, 32, 33, 100, 1500}) {
    for (const index_t cols : {0, 1, 8, 10, 31, 129, 1001}) {
      if (rows * cols > 200000) continue;
      INFO("dy is (" << rows << ", " << cols << ")");
      const Tensor<float> dy = random_integers<float>({rows, cols}, 1);
      Tensor<float> db, gpu_db;
      lora::ops::linear_backward_bias(dy, db);
      lora::ops::linear_backward_bias(on_gpu(dy), gpu_db);
      CHECK(same_bits(on_cpu(gpu_db), db));
      lora::ops::linear_backward_bias(dy, db, true);
      lora::ops::linear_backward_bias(on_gpu(dy), gpu_db, true);
      CHECK(same_bits(on_cpu(gpu_db), db));
    }
  }
}

TEST_CASE("the bias gradient of a small batch has the CPU's bits, of a large one is near",
          "[kernels][linear_backward_bias]") {
  for (const index_t rows : {10, 32, 700}) {
    const Tensor<float> dy = random_tensor<float>({rows, 50}, 2);
    Tensor<float> db, gpu_db;
    Tensor<double> expected;
    lora::ops::linear_backward_bias(dy, db);
    lora::ops::linear_backward_bias(on_gpu(dy), gpu_db);
    lora::ops::linear_backward_bias(convert<double>(dy), expected);
    if (rows <= 32) CHECK(same_bits(on_cpu(gpu_db), db));
    CHECK(max_error(on_cpu(gpu_db), expected) < 1e-5);
  }
}
