// SPDX-License-Identifier: MIT
#include <lora/ops/relu.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

TEST_CASE("relu and relu_backward give the CPU's bits", "[kernels][relu]") {
  for (const index_t size : kSizes) {
    INFO("size " << size);
    Tensor<float> x = random_tensor<float>({size}, 1);
    if (size > 4) {
      x[0] = NAN;
      x[1] = -0.0f;
      x[2] = 0.0f;
      x[size - 1] = -INFINITY;
    }
    const Tensor<float> dy = random_tensor<float>({size}, 2);
    Tensor<float> y, dx, gpu_y, gpu_dx;
    lora::ops::relu(x, y);
    lora::ops::relu(on_gpu(x), gpu_y);
    CHECK(same_bits(on_cpu(gpu_y), y));
    lora::ops::relu_backward(y, dy, dx);
    lora::ops::relu_backward(gpu_y, on_gpu(dy), gpu_dx);
    CHECK(same_bits(on_cpu(gpu_dx), dx));
  }
}

TEST_CASE("relu and relu_backward in place", "[kernels][relu]") {
  const Tensor<float> x = random_tensor<float>({1001}, 1);
  const Tensor<float> dy = random_tensor<float>({1001}, 2);
  Tensor<float> y, dx;
  lora::ops::relu(x, y);
  lora::ops::relu_backward(y, dy, dx);
  Tensor<float> gpu_y = on_gpu(x);
  Tensor<float> gpu_dx = on_gpu(dy);
  lora::ops::relu(gpu_y, gpu_y);
  lora::ops::relu_backward(gpu_y, gpu_dx, gpu_dx);
  CHECK(same_bits(on_cpu(gpu_y), y));
  CHECK(same_bits(on_cpu(gpu_dx), dx));
}
