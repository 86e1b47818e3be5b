// SPDX-License-Identifier: MIT
#include <lora/ops/causal_attention.hpp>

#include <array>
#include <cmath>
#include <utility>

#include "kernels/support.hpp"
#include "support/attention.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

AttentionResults<float> on_cpu(const AttentionResults<float>& r) {
  AttentionResults<float> copy;
  copy.y = lora_test::on_cpu(r.y);
  copy.log_sum_exp = lora_test::on_cpu(r.log_sum_exp);
  copy.dq = lora_test::on_cpu(r.dq);
  copy.dk = lora_test::on_cpu(r.dk);
  copy.dv = lora_test::on_cpu(r.dv);
  return copy;
}

Attention<float> on_gpu(const Attention<float>& a) {
  Attention<float> copy = a;
  for (Tensor<float>* x : {&copy.q, &copy.k, &copy.v, &copy.dy}) *x = lora_test::on_gpu(*x);
  return copy;
}

}  // namespace

TEST_CASE("causal attention and its gradients", "[kernels][causal_attention]") {
  // {B, T, heads, d}: on both sides of a tile of tokens, and of each width of head.
  for (const auto& [batch, length, heads, d] : {std::array<index_t, 4>{1, 1, 1, 1},
                                                {2, 2, 3, 3},
                                                {1, 63, 1, 16},
                                                {1, 64, 2, 17},
                                                {2, 65, 1, 8},
                                                {1, 130, 1, 33},
                                                {1, 67, 1, 64},
                                                {1, 32, 1, 65},
                                                {1, 70, 1, 128}}) {
    INFO("B " << batch << ", T " << length << ", " << heads << " heads of " << d
              << " columns, seed 1");
    const Attention<float> a(batch, length, heads, d, 1);
    const AttentionResults<float> r = on_cpu(AttentionResults<float>(on_gpu(a)));
    CHECK(max_error(r, reference_attention(a)) < 2e-5);
  }
}

TEST_CASE("q, k and v side by side give the same bits on the GPU", "[kernels][causal_attention]") {
  const Attention<float> a(2, 70, 2, 5, 5);
  const AttentionResults<float> r = on_cpu(AttentionResults<float>(on_gpu(a)));
  const Tensor<float> qkv = lora_test::on_gpu(side_by_side(a.q, a.k, a.v));
  Tensor<float> y, log_sum_exp, dqkv;
  ops::causal_attention(qkv, a.heads, y, log_sum_exp);
  CHECK(same_bits(lora_test::on_cpu(y), r.y));
  ops::causal_attention_backward(lora_test::on_gpu(a.dy), qkv, y, log_sum_exp, a.heads, dqkv);
  CHECK(same_bits(lora_test::on_cpu(dqkv), side_by_side(r.dq, r.dk, r.dv)));
}

TEST_CASE("the same launch of causal attention gives the same bits",
          "[kernels][causal_attention]") {
  const Attention<float> a = on_gpu(Attention<float>(1, 130, 2, 16, 9));
  const AttentionResults<float> first = on_cpu(AttentionResults<float>(a));
  for (int i = 0; i < 2; ++i) CHECK(same_bits(on_cpu(AttentionResults<float>(a)), first));
}

TEST_CASE("large scores give finite results on the GPU, and no token sees a later one",
          "[kernels][causal_attention]") {
  Attention<float> a(1, 80, 1, 8, 13);
  ops::scale(a.q, 1e3);
  ops::scale(a.k, 1e3);
  const AttentionResults<float> r = on_cpu(AttentionResults<float>(on_gpu(a)));
  for (const Tensor<float>* x : {&r.y, &r.log_sum_exp, &r.dq, &r.dk, &r.dv}) {
    bool finite = true;
    for (const float element : x->span()) finite &= std::isfinite(element);
    CHECK(finite);
  }
  for (const index_t changed : {3, 64, 79}) {
    INFO("token " << changed << ", seed 13");
    Attention<float> b = a;
    for (index_t c = 0; c < 8; ++c) {
      b.k.matrix()(changed, c) += 1;
      b.v.matrix()(changed, c) += 1;
    }
    Tensor<float> y = on_cpu(AttentionResults<float>(on_gpu(b))).y, before = r.y;
    y.resize({changed, 8});
    before.resize({changed, 8});
    CHECK(same_bits(y, before));
  }
}

TEST_CASE("no sequences and empty ones need no launch", "[kernels][causal_attention]") {
  for (const auto& [batch, length] : {std::pair<index_t, index_t>{0, 4}, {4, 0}}) {
    const AttentionResults<float> r(on_gpu(Attention<float>(batch, length, 2, 5, 17)));
    CHECK(r.y.shape() == Shape{batch, length, 10});
    CHECK(r.log_sum_exp.shape() == Shape{batch, 2, length});
  }
}

TEST_CASE("heads of more columns than the kernels take are refused",
          "[kernels][causal_attention][errors]") {
  const Tensor<float> x({1, 2, 258}, Device::cuda);
  Tensor<float> y, log_sum_exp;
  CHECK_THROWS_WITH(ops::causal_attention(x, x, x, 2, y, log_sum_exp),
                    "causal_attention: q is (1, 2, 258) on cuda, heads is 2: a head has 129 "
                    "columns, the kernels take at most 128");
}
