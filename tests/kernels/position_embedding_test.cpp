// SPDX-License-Identifier: MIT
#include <lora/ops/position_embedding.hpp>

#include "kernels/support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("position_embedding and its backward pass give the CPU's bits",
          "[kernels][position_embedding]") {
  for (const index_t batch : {0, 1, 3, 40}) {
    for (const index_t length : {0, 1, 5, 10}) {
      for (const index_t dim : {1, 10, 33}) {
        INFO("x is (" << batch << ", " << length << ", " << dim << ")");
        const auto p = random_integers<float>({10, dim}, 1);
        const auto x = random_integers<float>({batch, length, dim}, 2);
        Tensor<float> y, gpu_y, dp = p, gpu_dp = on_gpu(p);
        ops::position_embedding(x, p, y);
        ops::position_embedding(on_gpu(x), on_gpu(p), gpu_y);
        CHECK(same_bits(on_cpu(gpu_y), y));
        for (const bool accumulate : {true, false}) {
          ops::position_embedding_backward(x, dp, accumulate);
          ops::position_embedding_backward(on_gpu(x), gpu_dp, accumulate);
          CHECK(same_bits(on_cpu(gpu_dp), dp));
        }
      }
    }
  }
}
