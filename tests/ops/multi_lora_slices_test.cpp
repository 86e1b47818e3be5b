// SPDX-License-Identifier: MIT
#include <lora/ops/multi_lora.hpp>

#include <algorithm>
#include <array>

#include "support/adapter_terms.hpp"

// Terms that reach a slice of a layer's outputs.

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

TEST_CASE("multi_lora's terms on slices of the outputs follow the formulas", "[multi_lora]") {
  std::uint64_t seed = 20000;
  for (const auto& [batch, in, out] : {std::array<index_t, 3>{1, 1, 5},
                                       {10, 50, 33},
                                       {8, 129, 130},
                                       {23, 31, 301},
                                       {40, 40, 384},
                                       {0, 5, 6}}) {
    for (const auto& row_ids : kRowIds) {
      for (const Activation activation : {Activation::none, Activation::relu}) {
        seed += 50;
        check_formulas({batch, in, out, sliced_terms(out), row_ids, false, seed}, activation, seed);
      }
    }
  }
}

TEST_CASE("multi_lora's gradients on slices match finite differences", "[multi_lora][gradient]") {
  std::uint64_t seed = 30000;
  for (const auto& row_ids : kRowIds) {
    MultiLayer<double> l(6, 5, 9,
                         {{0, 2, 0.5, false, true, 0, 3},
                          {7, 1, 2.0, true, true, 3, 5},
                          {7, 2, -1.0, true, true, 0, 4},
                          {2, 3, 1.0, true, true}},
                         row_ids, false, seed += 50);
    for (double& value : l.relu_output.span()) value = 1;
    INFO(text(l) << ", seed " << seed);
    const auto loss = [&] { return dot(run_multi(l, Activation::none).y, l.dy); };
    const MultiResults<double> r = run_multi(l, Activation::none);
    check_gradient(l.x, r.dx, loss);
    for (std::size_t t = 0; t < l.adapters.size(); ++t) {
      check_gradient(l.adapters[t].a, r.da[t], loss);
      check_gradient(l.adapters[t].b, r.db[t], loss);
      if (l.adapters[t].spec.gain) check_gradient(l.adapters[t].gain, r.dgain[t], loss);
    }
  }
}

TEST_CASE("multi_lora's slices leave the outputs between them the base's bits", "[multi_lora]") {
  for (const index_t batch : {1, 10, 65}) {
    const index_t out = 300;
    const MultiLayer<float> l(batch, 129, out,
                              {{0, 3, 0.5, true, true, 1, 99}, {7, 8, 2.0, true, true, 200, 99}},
                              {}, false, 9050);
    Tensor<float> base;
    ops::linear(l.x, l.w, &l.bias, base);
    const MultiResults<float> r = run_multi(l, Activation::none);
    for (index_t i = 0; i < batch; ++i) {
      for (index_t o = 0; o < out; ++o) {
        INFO("batch " << batch << ", row " << i << ", output " << o);
        const bool is_reached = (o >= 1 && o < 100) || (o >= 200 && o < 299);
        CHECK((r.y(i, o) == base(i, o)) == !is_reached);
        CHECK((r.du(i, o) == l.dy(i, o)) == !is_reached);
      }
    }
  }
}

TEST_CASE("multi_lora's slices of all outputs have the bits of one term over all", "[multi_lora]") {
  const index_t out = 384;
  const MultiLayer<float> whole(11, 70, out, {{0, 8, 0.5, true, true}}, {}, false, 9060);
  MultiLayer<float> sliced(11, 70, out, {}, {}, false, 9060);
  for (index_t first = 0; first < out; first += 128) {
    const auto& all = whole.adapters[0];
    Tensor<float> b({128, 8}), gain({128});
    std::copy_n(all.b.data() + first * 8, 128 * 8, b.data());
    std::copy_n(all.gain.data() + first, 128, gain.data());
    sliced.adapters.push_back({{0, 8, 0.5, true, true, first, 128}, all.a, b, gain});
  }
  sliced.relu_output = whole.relu_output;
  const MultiResults<float> one = run_multi(whole, Activation::relu);
  const MultiResults<float> three = run_multi(sliced, Activation::relu);
  CHECK(same_bits(three.y, one.y));
  CHECK(same_bits(three.du, one.du));
  for (std::size_t s = 0; s < 3; ++s) {
    const index_t first = sliced.adapters[s].spec.first_output;
    for (index_t o = 0; o < 128; ++o) {
      CHECK(three.dgain[s][o] == one.dgain[0][first + o]);
      for (index_t r = 0; r < 8; ++r) CHECK(three.db[s](o, r) == one.db[0](first + o, r));
    }
  }
}

TEST_CASE("multi_lora's biases are of a slice, too", "[multi_lora]") {
  const auto dy = random_tensor<double>({9, 7}, 9070);
  const auto bias = random_tensor<double>({3}, 9071);
  const Tensor<std::int32_t> ids({9}, {0, 1, 1, 0, -1, 1, 0, 0, 1});
  const lora::detail::OutputRange outputs{2, 3};
  for (const auto* row_ids : {static_cast<const Tensor<std::int32_t>*>(nullptr), &ids}) {
    Tensor<double> y = dy, expected = dy, db, sum({3});
    for (index_t i = 0; i < 9; ++i) {
      for (index_t s = 0; s < 3; ++s) {
        if (row_ids && ids[i] != 1) continue;
        expected(i, 2 + s) += bias[s];
        sum[s] += dy(i, 2 + s);
      }
    }
    ops::multi_lora_add_bias(bias, row_ids, 1, y, &outputs);
    ops::multi_lora_backward_bias(dy, row_ids, 1, db, false, &outputs);
    CHECK(same_bits(y, expected));
    CHECK(max_error(db, sum) < 1e-14);
    ops::multi_lora_backward_bias(dy, row_ids, 1, db, true, &outputs);
    ops::scale(sum, 2.0);
    CHECK(max_error(db, sum) < 1e-14);
  }
}

TEST_CASE("multi_lora refuses slices that do not fit", "[multi_lora][errors]") {
  const Tensor<float> x({3, 4}), u({3, 5}), h({3, 2}), a({2, 4}), b({5, 2}), gain({5});
  const Tensor<std::int32_t> ids({3});
  Tensor<float> y, da, u_out = u, h_out = h;
  const auto term = lora::detail::adapter_term<float>(a, b, &gain, false, 0, 0, 1.0);
  auto shifted = term;
  for (const std::int64_t first_output : {-1, 1}) {
    shifted.first_output = first_output;
    CHECK_THROWS_WITH(ops::multi_lora_expand<float>(u, h, std::vector{shifted}, &ids, nullptr, y),
                      contains("outputs from " + std::to_string(first_output)) &&
                          contains("multi_lora_expand: term 0") &&
                          contains("must lie within the layer's 5"));
    CHECK_THROWS_AS(ops::multi_lora_backward_output(u, std::vector{shifted}, &ids, y),
                    lora::ShapeError);
    CHECK_THROWS_AS(ops::multi_lora_backward_shrink(u, std::vector{shifted}, &ids, y),
                    lora::ShapeError);
    CHECK_THROWS_AS(
        ops::multi_lora_backward_weights<float>(u, x, h, h, shifted, &ids, &da, nullptr),
        lora::ShapeError);
  }
  auto on_base = term, other = term;
  on_base.gain_on_base = true;
  other.b.rows = other.gain.size = 2;
  CHECK_THROWS_WITH(ops::multi_lora_backward_gain(u, u, h, std::vector{on_base, other}, &ids, 0, y),
                    contains("term 1") && contains("must be those of the adapter's other terms"));

  const lora::detail::OutputRange outputs{2, 3}, beyond{3, 3};
  CHECK_THROWS_WITH(ops::multi_lora_add_bias(gain, &ids, 0, u_out, &outputs),
                    contains("bias is (5,) on cpu, for 3 outputs it must have one element each"));
  CHECK_THROWS_WITH(ops::multi_lora_add_bias(gain, &ids, 0, h_out),
                    contains("bias is (5,) on cpu, for 2 outputs"));
  CHECK_THROWS_WITH(ops::multi_lora_backward_bias(u, &ids, 0, da, false, &beyond),
                    contains("multi_lora_backward_bias: 3 outputs from 3 on, they must lie within "
                             "the layer's 5"));
}
