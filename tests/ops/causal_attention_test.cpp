// SPDX-License-Identifier: MIT
#include <lora/ops/causal_attention.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "support/attention.hpp"
#include "support/golden.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

/// On both sides of one and two vectors of every instruction set, of a tile, and of a thread's
/// share.
constexpr std::initializer_list<index_t> kLengths = {1, 2, 15, 16, 17, 33, 63, 65, 130, 300};
constexpr std::initializer_list<index_t> kHeadColumns = {1, 3, 8, 16, 33, 64};

}  // namespace

TEMPLATE_TEST_CASE("causal attention and its gradients are the formulas'", "[causal_attention]",
                   float, double) {
  const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 1e-13;
  for (const index_t length : kLengths) {
    for (const index_t d : kHeadColumns) {
      if (length == 300 && d != 16) continue;
      INFO("length " << length << ", columns of a head " << d << ", seed 1");
      const Attention<TestType> a(2, length, 3, d, 1);
      CHECK(max_error(AttentionResults<TestType>(a), reference_attention(a)) < tolerance);
    }
  }
}

TEST_CASE("causal attention's gradients match finite differences", "[causal_attention][gradient]") {
  Attention<double> a(1, 19, 2, 3, 5);
  const AttentionResults<double> r(a);
  const auto loss = [&] {
    Tensor<double> y, log_sum_exp;
    ops::causal_attention(a.q, a.k, a.v, a.heads, y, log_sum_exp);
    return dot(y, a.dy);
  };
  check_gradient(a.q, r.dq, loss);
  check_gradient(a.k, r.dk, loss);
  check_gradient(a.v, r.dv, loss);
}

TEST_CASE("q, k and v side by side give the same bits", "[causal_attention]") {
  for (const index_t length : {0, 1, 17, 130}) {
    for (const index_t d : {1, 16, 33}) {
      INFO("length " << length << ", columns of a head " << d << ", seed 9");
      const Attention<float> a(2, length, 3, d, 9);
      const AttentionResults<float> r(a);
      const Tensor<float> qkv = side_by_side(a.q, a.k, a.v);
      Tensor<float> y, log_sum_exp, dqkv;
      ops::causal_attention(qkv, a.heads, y, log_sum_exp);
      CHECK(same_bits(y, r.y));
      CHECK(same_bits(log_sum_exp, r.log_sum_exp));
      ops::causal_attention_backward(a.dy, qkv, y, log_sum_exp, a.heads, dqkv);
      CHECK(same_bits(dqkv, side_by_side(r.dq, r.dk, r.dv)));
    }
  }
}

TEMPLATE_TEST_CASE("causal attention gives the same bits on any number of threads",
                   "[causal_attention]", float, double) {
  const ThreadCountGuard guard;
  for (const auto& [batch, length, heads] :
       {std::array<index_t, 3>{1, 700, 1}, {1, 130, 3}, {3, 65, 2}}) {
    const Attention<TestType> a(batch, length, heads, 7, 13);
    lora::set_num_threads(1);
    const AttentionResults<TestType> one(a);
    for (const int threads : {2, 3, 5}) {
      INFO(batch << " sequences of length " << length << ", " << heads << " heads, " << threads
                 << " threads, seed 13");
      lora::set_num_threads(threads);
      CHECK(same_bits(AttentionResults<TestType>(a), one));
    }
  }
}

TEST_CASE("no token depends on a later one", "[causal_attention]") {
  constexpr index_t kLength = 100, kHeads = 2;
  const Attention<float> a(1, kLength, kHeads, 5, 17);
  const AttentionResults<float> before(a);
  for (const index_t changed : {1, 15, 16, 40, 64, 99}) {
    INFO("token " << changed << ", seed 17");
    Attention<float> b = a;
    for (Tensor<float>* x : {&b.q, &b.k, &b.v}) {
      for (index_t c = 0; c < x->cols(); ++c) x->matrix()(changed, c) *= 50;
    }
    const AttentionResults<float> after(b);
    index_t first_change = 0;
    while (first_change < kLength) {
      const index_t t = first_change * a.q.cols();
      if (!std::equal(&before.y[t], &before.y[t] + a.q.cols(), &after.y[t])) break;
      ++first_change;
    }
    CHECK(first_change == changed);
  }
}

TEST_CASE("scores of any size give finite results", "[causal_attention]") {
  for (const double factor : {30.0, 1e3, 1e6}) {
    INFO("queries and keys times " << factor << ", seed 21");
    Attention<float> a(1, 80, 2, 8, 21);
    ops::scale(a.q, factor);
    ops::scale(a.k, factor);
    const AttentionResults<float> r(a);
    for (const Tensor<float>* x : {&r.y, &r.log_sum_exp, &r.dq, &r.dk, &r.dv}) {
      bool finite = true;
      for (const float element : x->span()) finite &= std::isfinite(element);
      CHECK(finite);
    }
  }
}

TEST_CASE("a NaN shows in what looks at it, and nowhere else", "[causal_attention]") {
  Attention<float> a(2, 70, 2, 4, 25);
  head_element(a.k, 2, 1, 30, 1, 2) = NAN;
  Tensor<float> y, log_sum_exp;
  ops::causal_attention(a.q, a.k, a.v, a.heads, y, log_sum_exp);
  for (index_t b = 0; b < 2; ++b) {
    for (index_t t = 0; t < 70; ++t) {
      for (index_t h = 0; h < 2; ++h) {
        CAPTURE(b, t, h);
        REQUIRE(std::isnan(head_value(y, 2, b, t, h, 3)) == (b == 1 && h == 1 && t >= 30));
      }
    }
  }
}

TEST_CASE("one token's output is its value, and there may be none", "[causal_attention]") {
  const Attention<float> one(3, 1, 2, 5, 29);
  CHECK(max_error(AttentionResults<float>(one).y, one.v) < 1e-6);
  for (const auto& [batch, length] : {std::pair<index_t, index_t>{0, 4}, {4, 0}, {0, 0}}) {
    const Attention<float> none(batch, length, 2, 5, 33);
    const AttentionResults<float> r(none);
    CHECK(r.y.shape() == Shape{batch, length, 10});
    CHECK(r.log_sum_exp.shape() == Shape{batch, 2, length});
    CHECK(r.dk.shape() == Shape{batch, length, 10});
  }
}

TEST_CASE("causal attention is PyTorch's", "[causal_attention][torch]") {
  const auto file = golden("attention");
  const auto read = [&](const char* name) { return file.read<float>(name); };
  const Tensor<float> q = read("q"), k = read("k"), v = read("v"), dy = read("dy");
  Tensor<float> y, log_sum_exp, dq, dk, dv;
  ops::causal_attention(q, k, v, 2, y, log_sum_exp);
  ops::causal_attention_backward(dy, q, k, v, y, log_sum_exp, 2, dq, dk, dv);
  CHECK(max_error(y, read("y")) < 1e-5);
  CHECK(max_error(dq, read("dq")) < 1e-5);
  CHECK(max_error(dk, read("dk")) < 1e-5);
  CHECK(max_error(dv, read("dv")) < 1e-5);
}

TEST_CASE("causal attention refuses what does not fit", "[causal_attention][errors]") {
  const Tensor<float> x({2, 3, 10}), flat({6, 10}), longer({2, 4, 10});
  Tensor<float> y, s, d;
  CHECK_THROWS_WITH(ops::causal_attention(x, x, x, 3, y, s),
                    "causal_attention: q is (2, 3, 10) on cpu, heads is 3: size 2 of q must be a "
                    "multiple of heads");
  CHECK_THROWS_AS(ops::causal_attention(x, x, x, 0, y, s), lora::ShapeError);
  CHECK_THROWS_WITH(ops::causal_attention(flat, flat, flat, 2, y, s),
                    contains("q is (6, 10) on cpu, heads is 2: q must have three sizes"));
  CHECK_THROWS_WITH(ops::causal_attention(x, longer, x, 2, y, s), contains("k is (2, 4, 10)"));
  CHECK_THROWS_WITH(ops::causal_attention(x, x, longer, 2, y, s), contains("v is (2, 4, 10)"));
  CHECK_THROWS_WITH(ops::causal_attention(x, 2, y, s),
                    contains("qkv is (2, 3, 10) on cpu, heads is 2: size 2 of qkv must be a "
                             "multiple of 3 heads"));

  ops::causal_attention(x, x, x, 2, y, s);
  const auto backward = [&](const Tensor<float>& dy, const Tensor<float>& of_y, index_t heads) {
    ops::causal_attention_backward(dy, x, x, x, of_y, s, heads, d, d, d);
  };
  CHECK_THROWS_WITH(backward(longer, y, 2), contains("dy is (2, 4, 10)"));
  CHECK_THROWS_WITH(backward(y, longer, 2), contains("y is (2, 4, 10)"));
  CHECK_THROWS_WITH(backward(y, y, 5), contains("expected log_sum_exp of a forward pass with 5"));
  const Tensor<float> qkv({2, 3, 30});
  CHECK_THROWS_WITH(ops::causal_attention_backward(y, qkv, longer, s, 2, d),
                    contains("expected y of a forward pass with this qkv"));
  CHECK_THROWS_WITH(ops::causal_attention_backward(longer, qkv, y, s, 2, d),
                    contains("dy is (2, 4, 10)"));
}
