// SPDX-License-Identifier: MIT
#include <lora/ops/argmax.hpp>
#include <lora/ops/count_errors.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

void check_argmax(const Tensor<float>& x) {
  INFO("x is " << describe(x));
  Tensor<std::int32_t> indices, gpu_indices;
  lora::ops::argmax(x, indices);
  lora::ops::argmax(on_gpu(x), gpu_indices);
  CHECK(same_bits(on_cpu(gpu_indices), indices));
}

}  // namespace

TEST_CASE("argmax finds what the CPU finds, the first of equals", "[kernels][argmax]") {
  for (const auto& [rows, cols] : kShapes) {
    check_argmax(random_tensor<float>({rows, cols}, 1));
    check_argmax(random_integers<float>({rows, cols}, 2));
  }
}

TEST_CASE("argmax of NaN, infinities and one value", "[kernels][argmax]") {
  for (const index_t cols : {1, 10, 40, 1300}) {
    Tensor<float> x({5, cols});
    for (index_t j = 0; j < cols; ++j) {
      x(0, j) = -INFINITY;
      x(1, j) = NAN;
      x(2, j) = j == cols - 1 ? NAN : INFINITY;
      x(3, j) = j == cols / 2 || j == cols - 1 ? NAN : static_cast<float>(j);
      x(4, j) = 0.0f;
    }
    check_argmax(x);
  }
}

TEST_CASE("count_errors adds to what is there", "[kernels][count_errors]") {
  for (const index_t rows : {0, 1, 100, 10000}) {
    Tensor<std::int32_t> predictions({rows}), labels({rows});
    for (index_t i = 0; i < rows; ++i) {
      predictions[i] = static_cast<std::int32_t>(i * i % 7 % 10);
      labels[i] = static_cast<std::int32_t>(i % 12 - 1);
    }
    Tensor<index_t> wrong({10});
    wrong[3] = 5;
    Tensor<index_t> gpu_wrong = on_gpu(wrong);
    lora::ops::count_errors(predictions, labels, wrong);
    lora::ops::count_errors(on_gpu(predictions), on_gpu(labels), gpu_wrong);
    CHECK(same_bits(on_cpu(gpu_wrong), wrong));
  }
}
