// SPDX-License-Identifier: MIT
// A ReLU that a linear op applies gives the bits of the ReLU as an op of its own.
#include <lora/ops/lora_linear.hpp>
#include <lora/ops/relu.hpp>

#include "support/models.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

TEMPLATE_TEST_CASE("linear with a ReLU is linear, then relu", "[linear][relu][fused]", float,
                   double) {
  for (const index_t batch : {1, 10, 13, 70}) {
    for (const index_t out : {3, 40, 131}) {
      INFO("seed 1, batch " << batch << ", out " << out);
      const auto x = random_tensor<TestType>({batch, 37}, 1);
      const auto w = random_tensor<TestType>({out, 37}, 2);
      const auto bias = random_tensor<TestType>({out}, 3);
      const auto a = random_tensor<TestType>({2, 37}, 4);
      const auto b = random_tensor<TestType>({out, 2}, 5);
      Tensor<TestType> fused, apart, h;
      ops::linear(x, w, &bias, fused, Activation::relu);
      ops::linear(x, w, &bias, apart);
      ops::relu(apart, apart);
      CHECK(same_bits(fused, apart));
      ops::lora_linear(x, w, &bias, a, b, h, fused, 0.5, Activation::relu);
      ops::lora_linear(x, w, &bias, a, b, h, apart, 0.5);
      ops::relu(apart, apart);
      CHECK(same_bits(fused, apart));
    }
  }
}

TEMPLATE_TEST_CASE("an input gradient through a ReLU is one, then relu_backward",
                   "[linear][relu][fused]", float, double) {
  for (const auto& [batch, out] : {std::pair<index_t, index_t>{10, 5}, {10, 300}, {70, 50}}) {
    INFO("seed 1, batch " << batch << ", out " << out);
    const auto dy = random_tensor<TestType>({batch, out}, 1);
    const auto w = random_tensor<TestType>({out, 37}, 2);
    const auto a = random_tensor<TestType>({2, 37}, 3);
    const auto b = random_tensor<TestType>({out, 2}, 4);
    auto relu_output = random_tensor<TestType>({batch, 37}, 5);
    ops::relu(relu_output, relu_output);
    relu_output[0] = std::numeric_limits<TestType>::quiet_NaN();
    Tensor<TestType> fused, apart, dh;
    ops::linear_backward_input(dy, w, fused, &relu_output);
    ops::linear_backward_input(dy, w, apart);
    ops::relu_backward(relu_output, apart, apart);
    CHECK(same_bits(fused, apart));
    ops::lora_linear_backward_input(dy, w, a, b, dh, &fused, 0.5, &relu_output);
    ops::lora_linear_backward_input(dy, w, a, b, dh, &apart, 0.5);
    ops::relu_backward(relu_output, apart, apart);
    CHECK(same_bits(fused, apart));
  }
}

TEST_CASE("a ReLU's output of another shape is an error", "[linear][relu][fused][errors]") {
  const Tensor<float> dy({2, 3}), w({3, 4}), relu_output({2, 5});
  Tensor<float> dx;
  CHECK_THROWS_WITH(ops::linear_backward_input(dy, w, dx, &relu_output),
                    contains("relu_output is (2, 5)") && contains("w is (3, 4)"));
}
