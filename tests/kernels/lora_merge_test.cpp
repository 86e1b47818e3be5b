// SPDX-License-Identifier: MIT
#include <lora/ops/lora_linear.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

TEST_CASE("lora_merge gives the CPU's bits", "[kernels][lora_merge]") {
  for (const index_t out : {0, 1, 7, 10, 33, 65}) {
    for (const index_t in : {0, 1, 10, 128, 784}) {
      for (const index_t rank : {0, 1, 3, 16}) {
        INFO("O " << out << ", I " << in << ", R " << rank);
        const Tensor<float> a = random_tensor<float>({rank, in}, 1);
        const Tensor<float> b = random_tensor<float>({out, rank}, 2);
        Tensor<float> w = random_tensor<float>({out, in}, 3);
        Tensor<float> gpu_w = on_gpu(w);
        lora::ops::lora_merge(a, b, w, 0.7);
        lora::ops::lora_merge(on_gpu(a), on_gpu(b), gpu_w, 0.7);
        CHECK(same_bits(on_cpu(gpu_w), w));
      }
    }
  }
}
