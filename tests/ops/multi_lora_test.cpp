// SPDX-License-Identifier: MIT
#include <lora/ops/multi_lora.hpp>

#include <cmath>
#include <limits>

#include "support/adapter_terms.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

namespace {

/// Different ranks, an adapter of two terms, DoRA's gain on some.
const std::vector<TermSpec> kTerms = {{0, 3, 0.5, false, true},
                                      {7, 1, 2.0, true, true},
                                      {7, 8, -1.5, true, false},
                                      {2, 17, 1.0, true, true}};

template <class T>
Tensor<T> row_of(const Tensor<T>& x, index_t i) {
  Tensor<T> row({1, x.dim(1)});
  for (index_t j = 0; j < x.dim(1); ++j) row(0, j) = x(i, j);
  return row;
}

template <class T>
bool all_finite(const Tensor<T>& x) {
  for (const T value : x.span()) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("multi_lora's ops follow their formulas", "[multi_lora]") {
  std::uint64_t seed = 100;
  for (const auto& [batch, in, out] : {std::array<index_t, 3>{1, 1, 1},
                                       {10, 50, 33},
                                       {8, 129, 130},
                                       {23, 31, 300},
                                       {95, 40, 170},
                                       {0, 5, 6}}) {
    for (const auto& row_ids : kRowIds) {
      for (const Activation activation : {Activation::none, Activation::relu}) {
        seed += 50;
        check_formulas({batch, in, out, kTerms, row_ids, false, seed}, activation, seed);
      }
    }
  }
}

TEST_CASE("multi_lora's gradients match finite differences", "[multi_lora][gradient]") {
  std::uint64_t seed = 5000;
  for (const auto& row_ids : kRowIds) {
    MultiLayer<double> l(6, 5, 7,
                         {{0, 2, 0.5, false, true},
                          {7, 1, 2.0, true, true},
                          {7, 3, -1.5, true, false},
                          {2, 2, 1.0, true, true}},
                         row_ids, false, seed += 50);
    for (double& value : l.relu_output.span()) value = 1;
    INFO(text(l) << ", seed " << seed);
    const auto loss = [&] { return dot(run_multi(l, Activation::none).y, l.dy); };
    const MultiResults<double> r = run_multi(l, Activation::none);
    Tensor<double> dw;
    ops::linear_backward_weight(r.du, l.x, dw);
    check_gradient(l.x, r.dx, loss);
    check_gradient(l.w, dw, loss);
    for (std::size_t t = 0; t < l.adapters.size(); ++t) {
      check_gradient(l.adapters[t].a, r.da[t], loss);
      check_gradient(l.adapters[t].b, r.db[t], loss);
    }
    // One tensor is the gain of both terms of adapter 7.
    const auto loss_of_7 = [&] {
      l.adapters[2].gain = l.adapters[1].gain;
      return loss();
    };
    loss_of_7();
    const MultiResults<double> tied = run_multi(l, Activation::none);
    check_gradient(l.adapters[1].gain, tied.dgain[1], loss_of_7);
    check_gradient(l.adapters[3].gain, tied.dgain[2], loss_of_7);
  }
}

TEST_CASE("multi_lora gives a row without an adapter the base's bits", "[multi_lora]") {
  for (const index_t batch : {1, 10, 65, 130}) {
    for (const Activation activation : {Activation::none, Activation::relu}) {
      INFO("batch " << batch);
      const MultiLayer<float> l(batch, 129, 70, kTerms, {7, -1, 2, 99, 0}, false, 9000);
      Tensor<float> base;
      ops::linear(l.x, l.w, &l.bias, base, activation);
      const Tensor<float> y = run_multi(l, activation).y;
      index_t rows = 0;
      for (index_t i = 0; i < batch; ++i) {
        if ((*l.ids)[i] != -1 && (*l.ids)[i] != 99) continue;
        ++rows;
        CHECK(same_bits(row_of(y, i), row_of(base, i)));
      }
      CHECK(rows == batch / 5 * 2);
    }
  }
}

TEST_CASE("multi_lora of one adapter on all rows is lora_linear", "[multi_lora]") {
  const MultiLayer<double> l(10, 50, 33, {{3, 8, 2.5, false, true}}, {}, false, 9100);
  Tensor<double> h, y, dh, dx;
  const auto& adapter = l.adapters[0];
  ops::lora_linear(l.x, l.w, &l.bias, adapter.a, adapter.b, h, y, 2.5);
  ops::lora_linear_backward_input(l.dy, l.w, adapter.a, adapter.b, dh, &dx, 2.5, &l.relu_output);
  const MultiResults<double> r = run_multi(l, Activation::none);
  CHECK(max_error(r.h, h) < 1e-12);
  CHECK(max_error(r.y, y) < 1e-12);
  CHECK(max_error(r.dh, dh) < 1e-12);
  CHECK(max_error(r.dx, dx) < 1e-12);
}

TEST_CASE("multi_lora keeps what is wrong with an adapter to its rows", "[multi_lora]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::int32_t> row_ids = {7, 0, -1, 2, 7, 7, 0, 2, 2, 0, -1};
  for (const bool in_input : {false, true}) {
    MultiLayer<float> l(23, 40, 150, kTerms, row_ids, false, 9200);
    const MultiResults<float> clean = run_multi(l, Activation::relu);
    for (float& value : l.adapters[2].a.span()) value = nan;
    for (float& value : l.adapters[1].b.span()) value = nan;
    for (float& value : l.adapters[1].gain.span()) value = nan;
    for (index_t i = 0; in_input && i < 23; ++i) {
      if ((*l.ids)[i] != 7) continue;
      for (index_t k = 0; k < 40; ++k) l.x(i, k) = nan;
      for (index_t o = 0; o < 150; ++o) l.dy(i, o) = nan;
    }
    const MultiResults<float> r = run_multi(l, Activation::relu);
    for (index_t i = 0; i < 23; ++i) {
      INFO("row " << i << " of adapter " << (*l.ids)[i]);
      const bool is_clean = same_bits(row_of(r.y, i), row_of(clean.y, i)) &&
                            same_bits(row_of(r.h, i), row_of(clean.h, i)) &&
                            same_bits(row_of(r.du, i), row_of(clean.du, i)) &&
                            same_bits(row_of(r.dh, i), row_of(clean.dh, i)) &&
                            same_bits(row_of(r.dx, i), row_of(clean.dx, i));
      CHECK(is_clean == ((*l.ids)[i] != 7));
    }
    for (const std::size_t other : {0u, 3u}) {
      CHECK(same_bits(r.da[other], clean.da[other]));
      CHECK(same_bits(r.db[other], clean.db[other]));
    }
    CHECK(same_bits(r.dgain[0], clean.dgain[0]));
    CHECK(same_bits(r.dgain[2], clean.dgain[2]));
    CHECK_FALSE(all_finite(r.dgain[1]));
  }
}

TEST_CASE("multi_lora works in place and adds to gradients", "[multi_lora]") {
  for (const auto& row_ids : kRowIds) {
    const MultiLayer<double> l(10, 20, 150, kTerms, row_ids, false, 9300);
    const auto terms = l.terms();
    const auto* ids = l.row_ids();
    MultiResults<double> r = run_multi(l, Activation::relu);
    Tensor<double> u, y;
    ops::linear<double>(l.x, l.w, nullptr, u);
    y = u;
    ops::multi_lora_expand(y, r.h, terms, ids, &l.bias, y, Activation::relu);
    CHECK(same_bits(y, r.y));
    y = l.dy;
    ops::multi_lora_backward_output(y, terms, ids, y);
    CHECK(same_bits(y, r.du));

    Tensor<double> da = r.da[2], db = r.db[2], dgain = r.dgain[1];
    ops::multi_lora_backward_weights(l.dy, l.x, r.h, r.dh, terms[2], ids, &da, &db, true);
    ops::multi_lora_backward_gain(l.dy, u, r.h, terms, ids, 7, dgain, true);
    ops::scale(r.da[2], 2.0);
    ops::scale(r.db[2], 2.0);
    ops::scale(r.dgain[1], 2.0);
    CHECK(max_error(da, r.da[2]) < 1e-12);
    CHECK(max_error(db, r.db[2]) < 1e-12);
    CHECK(max_error(dgain, r.dgain[1]) < 1e-12);
  }
}

TEST_CASE("multi_lora gives one term's gradients alone", "[multi_lora]") {
  const MultiLayer<double> l(10, 20, 15, kTerms, {7, 2}, false, 9400);
  const MultiResults<double> r = run_multi(l, Activation::none);
  Tensor<double> da, db;
  const auto term = l.terms()[3];
  ops::multi_lora_backward_weights<double>(l.dy, l.x, r.h, r.dh, term, l.row_ids(), &da, nullptr);
  ops::multi_lora_backward_weights<double>(l.dy, l.x, r.h, r.dh, term, l.row_ids(), nullptr, &db);
  CHECK(same_bits(da, r.da[3]));
  CHECK(same_bits(db, r.db[3]));
}

TEST_CASE("multi_lora's bits depend neither on threads nor on a row's neighbours", "[multi_lora]") {
  const ThreadCountGuard guard;
  const MultiLayer<float> l(11, 300, 1001, kTerms, {7, 2, -1, 0, 7, 7, 5, 2}, false, 9500);
  lora::set_num_threads(1);
  MultiResults<float> one = run_multi(l, Activation::relu);
  for (const int threads : {2, 3, 8}) {
    lora::set_num_threads(threads);
    MultiResults<float> many = run_multi(l, Activation::relu);
    std::vector<Tensor<float>> all;
    one.for_each([&](const std::string&, Tensor<float>& t) { all.push_back(t); });
    std::size_t next = 0;
    many.for_each([&](const std::string& name, Tensor<float>& t) {
      INFO(name << " with " << threads << " threads");
      CHECK(same_bits(t, all.at(next++)));
    });
  }
  for (index_t i = 0; i < 11; ++i) {
    INFO("row " << i << " alone");
    MultiLayer<float> alone = l;
    alone.x = row_of(l.x, i);
    alone.dy = row_of(l.dy, i);
    alone.relu_output = row_of(l.relu_output, i);
    alone.ids.emplace(Shape{1}, std::initializer_list<std::int32_t>{(*l.ids)[i]});
    const MultiResults<float> r = run_multi(alone, Activation::relu);
    CHECK(same_bits(r.h, row_of(one.h, i)));
    CHECK(same_bits(r.y, row_of(one.y, i)));
    CHECK(same_bits(r.dh, row_of(one.dh, i)));
    CHECK(same_bits(r.dx, row_of(one.dx, i)));
  }
}

TEST_CASE("multi_lora without terms", "[multi_lora]") {
  for (const auto& row_ids : {std::vector<std::int32_t>{}, {-1, 4}}) {
    const MultiLayer<float> l(6, 20, 33, {}, row_ids, false, 9600);
    const MultiResults<float> r = run_multi(l, Activation::relu);
    Tensor<float> y, dx;
    ops::linear(l.x, l.w, &l.bias, y, Activation::relu);
    ops::linear_backward_input(l.dy, l.w, dx, &l.relu_output);
    CHECK(r.h.shape() == Shape{6, 0});
    CHECK(same_bits(r.y, y));
    CHECK(same_bits(r.du, l.dy));
    CHECK(same_bits(r.dx, dx));
  }
}

TEST_CASE("cpu::multi_lora takes matrices with a stride", "[multi_lora]") {
  const MultiLayer<double> l(9, 30, 140, kTerms, {7, 2, 7, 0, -1}, false, 9700);
  const MultiResults<double> expected = run_multi(l, Activation::none);
  // Every matrix stands in the middle of a wider one, which must stay as it was.
  struct Wide {
    Tensor<double> memory;
    index_t cols;

    explicit Wide(const Tensor<double>& x) : memory({x.dim(0), x.dim(1) + 5}), cols(x.dim(1)) {
      for (double& value : memory.span()) value = 1234;
      for (index_t i = 0; i < x.dim(0); ++i) {
        for (index_t j = 0; j < cols; ++j) memory(i, j + 2) = x(i, j);
      }
    }
    lora::MatrixView<double> view() {
      return {memory.data() + 2, memory.dim(0), cols, memory.dim(1)};
    }
    Tensor<double> values() const {
      Tensor<double> x({memory.dim(0), cols});
      for (index_t i = 0; i < memory.dim(0); ++i) {
        for (index_t j = 0; j < memory.dim(1); ++j) {
          const bool inside = j >= 2 && j < cols + 2;
          if (inside) x(i, j - 2) = memory(i, j);
          if (!inside && memory(i, j) != 1234) FAIL("(" << i << ", " << j << ") was written");
        }
      }
      return x;
    }
  };
  std::vector<Wide> matrices;
  matrices.reserve(2 * kTerms.size());
  auto terms = l.terms();
  for (std::size_t t = 0; t < terms.size(); ++t) {
    terms[t].a = matrices.emplace_back(l.adapters[t].a).view();
    terms[t].b = matrices.emplace_back(l.adapters[t].b).view();
  }
  const lora::detail::AdapterTerms<double> all{terms.data(), 4};
  const auto ids = l.ids->vector();
  Tensor<double> base;
  ops::linear<double>(l.x, l.w, nullptr, base);
  Wide x(l.x), u(base), dy(l.dy), h(Tensor<double>({9, 29})), y(base), dh(h.values());
  Wide du(base), dx((Tensor<double>({9, 30}))), da(l.adapters[2].a), db(l.adapters[2].b);
  lora::cpu::multi_lora_shrink<double>(x.view(), all, ids, h.view());
  lora::cpu::multi_lora_expand<double>(u.view(), h.view(), all, ids, l.bias.vector(), y.view(),
                                       Activation::none);
  lora::cpu::multi_lora_backward_output<double>(dy.view(), all, ids, du.view());
  lora::cpu::multi_lora_backward_shrink<double>(dy.view(), all, ids, dh.view());
  lora::cpu::linear_backward_input<double>(du.view(), l.w.matrix(), {}, dx.view());
  lora::cpu::multi_lora_backward_input<double>(dh.view(), all, ids, l.relu_output.matrix(),
                                               dx.view());
  lora::cpu::multi_lora_backward_weights<double>(dy.view(), x.view(), h.view(), dh.view(), terms[2],
                                                 ids, da.view(), db.view(), false);
  Tensor<double> dgain({140});
  lora::cpu::multi_lora_backward_gain<double>(dy.view(), u.view(), h.view(), all, ids, 7,
                                              dgain.vector(), false);
  CHECK(same_bits(h.values(), expected.h));
  CHECK(same_bits(y.values(), expected.y));
  CHECK(same_bits(du.values(), expected.du));
  CHECK(same_bits(dh.values(), expected.dh));
  CHECK(same_bits(dx.values(), expected.dx));
  CHECK(same_bits(da.values(), expected.da[2]));
  CHECK(same_bits(db.values(), expected.db[2]));
  CHECK(same_bits(dgain, expected.dgain[1]));
}

TEST_CASE("multi_lora refuses what does not fit", "[multi_lora][errors]") {
  const Tensor<float> x({3, 4}), u({3, 5}), a({2, 4}), b({5, 2}), gain({5});
  const Tensor<std::int32_t> ids({3}), few({2});
  Tensor<float> h({3, 2}), y, da({9, 9});
  using lora::detail::adapter_term;
  const auto term = adapter_term<float>(a, b, &gain, false, 0, 0, 1.0);
  const std::vector terms{term};
  ops::multi_lora_shrink(x, terms, &ids, h);

  CHECK_THROWS_WITH(adapter_term<float>(a, Tensor<float>({5, 3}), nullptr, false, 0, 0, 1.0),
                    contains("size 0 of lora_A must equal size 1 of lora_B"));
  CHECK_THROWS_WITH(adapter_term<float>(a, b, &x, false, 0, 0, 1.0), contains("gain is (3, 4)"));
  CHECK_THROWS_WITH(ops::multi_lora_shrink(x, terms, &few, h),
                    contains("ids is (2,) on cpu, x is (3, 4) on cpu"));
  CHECK_THROWS_WITH(ops::multi_lora_shrink(u, terms, &ids, h),
                    contains("term 0 has lora_A (2, 4), lora_B (5, 2)") &&
                        contains("size 1 of lora_A must be 5"));
  CHECK_THROWS_WITH(ops::multi_lora_backward_shrink(x, terms, &ids, h),
                    contains("the outputs must lie within the layer's 4"));
  CHECK_THROWS_WITH(ops::multi_lora_shrink(x, std::vector{term, term}, &ids, h),
                    contains("term 1") && contains("must begin at 2"));
  auto shifted = term;
  shifted.first = 1;
  CHECK_THROWS_WITH(ops::multi_lora_expand<float>(u, h, std::vector{shifted}, &ids, nullptr, y),
                    contains("multi_lora_expand: term 0") && contains("within h, which has 2"));
  auto empty = term;
  empty.a.rows = empty.b.cols = 0;
  CHECK_THROWS_WITH(ops::multi_lora_shrink(x, std::vector{empty}, &ids, h), contains("at least 1"));
  auto narrow = term;
  narrow.gain.size = 4;
  CHECK_THROWS_WITH(ops::multi_lora_backward_output(u, std::vector{narrow}, &ids, y),
                    contains("the gain has 4 elements"));
  CHECK_THROWS_WITH(
      ops::multi_lora_backward_weights<float>(u, x, h, h, term, &ids, &da, nullptr, true),
      contains("da is (9, 9) on cpu, to be added to it must be (2, 4) on cpu"));
  CHECK_THROWS_AS(ops::multi_lora_backward_gain(u, u, h, terms, &ids, 0, y), lora::ValueError);
  CHECK_THROWS_WITH(ops::multi_lora_backward_gain(u, u, h, terms, &ids, 0, y),
                    contains("adapter 0 has 0 terms with gain_on_base"));
}
