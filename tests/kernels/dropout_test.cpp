// SPDX-License-Identifier: MIT
#include <lora/ops/dropout.hpp>

#include "kernels/support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

constexpr lora::DropoutKey kKey{0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x0F1E2D3C4B5A6978};

}  // namespace

TEST_CASE("dropout and dropout_add give the CPU's bits", "[kernels][dropout]") {
  for (const index_t size : kSizes) {
    for (const double p : {0.0, 0.1, 0.7}) {
      INFO("size " << size << ", p " << p);
      const auto x = random_tensor<float>({size}, 1);
      const auto relu_output = random_integers<float>({size}, 2, 1);
      auto y = random_tensor<float>({size}, 3), dropped = x;
      auto gpu_x = on_gpu(x), gpu_y = on_gpu(y);
      const auto gpu_relu_output = on_gpu(relu_output);

      ops::dropout_add(x, y, p, kKey);
      ops::dropout_add(gpu_x, gpu_y, p, kKey);
      CHECK(same_bits(on_cpu(gpu_y), y));
      ops::dropout_add(x, y, p, kKey, &relu_output);
      ops::dropout_add(gpu_x, gpu_y, p, kKey, &gpu_relu_output);
      CHECK(same_bits(on_cpu(gpu_y), y));
      ops::dropout(x, dropped, p, kKey);
      ops::dropout(gpu_x, gpu_x, p, kKey);
      CHECK(same_bits(on_cpu(gpu_x), dropped));
    }
  }
}

TEST_CASE("dropout on cuda takes what is to be added to the offset from the device",
          "[kernels][dropout]") {
  const auto x = random_tensor<float>({100}, 1);
  const Tensor<std::int64_t> step = Tensor<std::int64_t>({1}, {5}).to(Device::cuda);
  Tensor<float> y, expected;
  ops::dropout(on_gpu(x), y, 0.5, {1, 2, 3, step.data()});
  ops::dropout(x, expected, 0.5, {1, 2, 8});
  CHECK(same_bits(on_cpu(y), expected));
}

TEST_CASE("dropout's masks do not depend on addresses", "[kernels][dropout]") {
  const auto x = random_tensor<float>({50}, 1);
  const auto mask = lora::detail::dropout_mask("test", 0.5, kKey);
  const lora::detail::Backend& table = lora::detail::backend();
  for (const index_t begin : {0, 1, 2, 3, 4}) {
    for (const index_t size : {0, 1, 6, 37}) {
      INFO("elements " << begin << " to " << begin + size);
      Tensor<float> dropped = x, sum = x;
      Tensor<float> gpu_dropped = on_gpu(x), gpu_sum = on_gpu(x);
      const Tensor<float> gpu_x = on_gpu(x);
      lora::cpu::dropout<float>({x.data(), size}, {dropped.data() + begin, size}, mask);
      lora::cpu::dropout_add<float>({x.data(), size}, {x.data() + 1, size},
                                    {sum.data() + begin, size}, mask);
      REQUIRE(table.dropout({gpu_x.data(), size}, {gpu_dropped.data() + begin, size}, mask,
                            nullptr) == 0);
      REQUIRE(table.dropout_add({gpu_x.data(), size}, {gpu_x.data() + 1, size},
                                {gpu_sum.data() + begin, size}, mask, nullptr) == 0);
      CHECK(same_bits(on_cpu(gpu_dropped), dropped));
      CHECK(same_bits(on_cpu(gpu_sum), sum));
    }
  }
}
