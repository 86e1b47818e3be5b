// SPDX-License-Identifier: MIT
#include <lora/ops/elementwise.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

TEST_CASE("fill, scale and add_scaled give the CPU's bits", "[kernels][elementwise]") {
  for (const index_t size : kSizes) {
    INFO("size " << size);
    const Tensor<float> x = random_tensor<float>({size}, 1);
    Tensor<float> y = random_tensor<float>({size}, 2);
    Tensor<float> gpu_y = on_gpu(y);

    lora::ops::scale(y, 0.3);
    lora::ops::scale(gpu_y, 0.3);
    CHECK(same_bits(on_cpu(gpu_y), y));

    lora::ops::add_scaled(x, y, -1.7);
    lora::ops::add_scaled(on_gpu(x), gpu_y, -1.7);
    CHECK(same_bits(on_cpu(gpu_y), y));

    lora::ops::fill(y, 0.1);
    lora::ops::fill(gpu_y, 0.1);
    CHECK(same_bits(on_cpu(gpu_y), y));
  }
}

TEST_CASE("elementwise kernels work at any address and stay inside", "[kernels][elementwise]") {
  const lora::detail::Backend& table = lora::detail::backend();
  for (const index_t begin : {0, 1, 2, 3, 4}) {
    for (const index_t size : {0, 1, 6, 37}) {
      INFO("elements " << begin << " to " << begin + size);
      Tensor<float> x = random_tensor<float>({50}, 3);
      Tensor<float> gpu_x = on_gpu(x);
      for (index_t i = begin; i < begin + size; ++i) x[i] *= 2;
      REQUIRE(table.scale({gpu_x.data() + begin, size}, 2.0, nullptr) == 0);
      CHECK(same_bits(on_cpu(gpu_x), x));
      for (index_t i = begin; i < begin + size; ++i) x[i] = 7;
      REQUIRE(table.fill({gpu_x.data() + begin, size}, 7.0, nullptr) == 0);
      CHECK(same_bits(on_cpu(gpu_x), x));
    }
  }
}

TEST_CASE("operands of different alignment", "[kernels][elementwise]") {
  const Tensor<float> x = random_tensor<float>({50}, 3);
  Tensor<float> y = random_tensor<float>({50}, 4);
  Tensor<float> gpu_y = on_gpu(y);
  const Tensor<float> gpu_x = on_gpu(x);
  lora::cpu::add_scaled<float>({x.data() + 1, 40}, {y.data(), 40}, 0.5);
  REQUIRE(lora::detail::backend().add_scaled({gpu_x.data() + 1, 40}, {gpu_y.data(), 40}, 0.5,
                                             nullptr) == 0);
  CHECK(same_bits(on_cpu(gpu_y), y));
}
