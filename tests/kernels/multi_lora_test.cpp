// SPDX-License-Identifier: MIT
#include <lora/ops/multi_lora.hpp>

#include <array>
#include <limits>

#include <lora/graph.hpp>

#include "kernels/linear_support.hpp"
#include "support/adapter_terms.hpp"

using namespace lora_test;
using lora::Activation;
namespace ops = lora::ops;

namespace {

using Sizes = std::array<index_t, 3>;  // batch, in, out

std::string text(const Sizes& s) {
  return "B=" + std::to_string(s[0]) + " I=" + std::to_string(s[1]) + " O=" + std::to_string(s[2]);
}

/// Different ranks, an adapter of two terms, DoRA's gain on some.
const std::vector<TermSpec> kTerms = {{0, 3, 0.5, false, true},
                                      {7, 1, 2.0, true, true},
                                      {7, 8, -1.5, true, false},
                                      {2, 17, 1.0, true, true}};

/// Terms for three launches on 130 outputs, every other one of adapter 0, which alone needs two.
std::vector<TermSpec> many_terms() {
  std::vector<TermSpec> specs;
  for (std::int32_t t = 0; t < 70; ++t) {
    const std::int32_t id = t % 2 == 0 ? 0 : t;
    const bool is_slice = id % 5 == 3;
    specs.push_back(
        {id, 1 + t % 3, 0.5, t % 3 != 1, id != 0 || t == 0, is_slice ? t : 0, is_slice ? 11 : 0});
  }
  return specs;
}

void check_same_bits(MultiResults<float> cuda, MultiResults<float> cpu) {
  std::vector<Tensor<float>> all;
  cpu.for_each([&](const std::string&, Tensor<float>& t) { all.push_back(t); });
  std::size_t next = 0;
  cuda.for_each([&](const std::string& name, Tensor<float>& t) {
    INFO(name);
    CHECK(same_bits(on_cpu(t), all.at(next++)));
  });
}

Tensor<float> row_of(const Tensor<float>& x, index_t i) {
  Tensor<float> row({1, x.dim(1)});
  for (index_t j = 0; j < x.dim(1); ++j) row(0, j) = x(i, j);
  return row;
}

}  // namespace

TEST_CASE("multi_lora on cuda is exact on small whole numbers", "[kernels][multi_lora]") {
  std::uint64_t seed = 100;
  for (const Sizes& s :
       {Sizes{1, 1, 1}, {10, 784, 129}, {9, 65, 127}, {40, 36, 10}, {0, 5, 6}, {3, 130, 261}}) {
    for (const auto& row_ids : kRowIds) {
      INFO(text(s) << ", seed " << seed);
      const MultiLayer<float> l(s[0], s[1], s[2], kTerms, row_ids, true, seed += 50);
      check_same_bits(run_multi(l.to(Device::cuda), Activation::relu),
                      run_multi(l, Activation::relu));
    }
  }
}

TEST_CASE("multi_lora on cuda is exact on slices of the outputs", "[kernels][multi_lora]") {
  std::uint64_t seed = 3000;
  for (const Sizes& s : {Sizes{1, 1, 5}, {10, 100, 129}, {9, 65, 127}, {0, 5, 6}, {3, 33, 390}}) {
    for (const auto& row_ids : kRowIds) {
      INFO(text(s) << ", seed " << seed);
      const MultiLayer<float> l(s[0], s[1], s[2], sliced_terms(s[2]), row_ids, true, seed += 50);
      check_same_bits(run_multi(l.to(Device::cuda), Activation::relu),
                      run_multi(l, Activation::relu));
    }
  }
}

TEST_CASE("multi_lora on cuda adds biases to slices of the outputs", "[kernels][multi_lora]") {
  const auto dy = random_integers<float>({9, 300}, 3900, 2);
  const auto bias = random_integers<float>({170}, 3901, 2);
  const Tensor<std::int32_t> ids({9}, {0, 1, 1, 0, -1, 1, 0, 0, 1});
  const lora::detail::OutputRange outputs{77, 170};
  const auto run = [&](Device device) {
    Tensor<float> y = dy.to(device), db = bias.to(device);
    const auto row_ids = ids.to(device);
    ops::multi_lora_add_bias(db, &row_ids, 1, y, &outputs);
    ops::multi_lora_backward_bias(y, &row_ids, 1, db, true, &outputs);
    return std::pair(on_cpu(y), on_cpu(db));
  };
  const auto cuda = run(Device::cuda), cpu = run(Device::cpu);
  CHECK(same_bits(cuda.first, cpu.first));
  CHECK(same_bits(cuda.second, cpu.second));
}

TEST_CASE("multi_lora on cuda agrees with double", "[kernels][multi_lora]") {
  std::uint64_t seed = 5000;
  for (const Sizes& s : {Sizes{10, 784, 100}, {33, 63, 131}}) {
    for (const auto& row_ids : kRowIds) {
      INFO(text(s) << ", seed " << seed);
      const MultiLayer<float> l(s[0], s[1], s[2], kTerms, row_ids, false, seed += 50);
      MultiResults<double> expected = reference_multi(l, Activation::none);
      std::vector<Tensor<double>> all;
      expected.for_each([&](const std::string&, Tensor<double>& t) { all.push_back(t); });
      std::size_t next = 0;
      MultiResults<float> r = run_multi(l.to(Device::cuda), Activation::none);
      // Sums of hundreds of terms of hundreds: the errors are of their size, not of the result's.
      r.for_each([&](const std::string& name, Tensor<float>& t) {
        INFO(name);
        CHECK(max_error(on_cpu(t), all.at(next++)) < 2e-3);
      });
    }
  }
}

TEST_CASE("multi_lora on cuda takes more terms than a launch, in place", "[kernels][multi_lora]") {
  for (const auto& row_ids : {std::vector<std::int32_t>{}, {69, 0, 33, -1, 12}}) {
    const MultiLayer<float> l(7, 20, 130, many_terms(), row_ids, true, 7000);
    const MultiLayer<float> gpu = l.to(Device::cuda);
    MultiResults<float> cpu = run_multi(l, Activation::relu);
    MultiResults<float> cuda = run_multi(gpu, Activation::relu);
    Tensor<float> y, du = gpu.dy;
    ops::linear<float>(gpu.x, gpu.w, nullptr, y);
    ops::multi_lora_expand(y, cuda.h, gpu.terms(), gpu.row_ids(), &gpu.bias, y, Activation::relu);
    ops::multi_lora_backward_output(du, gpu.terms(), gpu.row_ids(), du);
    CHECK(same_bits(on_cpu(y), cpu.y));
    CHECK(same_bits(on_cpu(du), cpu.du));
    check_same_bits(cuda, cpu);
  }
}

TEST_CASE("multi_lora on cuda gives a row without an adapter the base's bits, whatever others are",
          "[kernels][multi_lora]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const index_t batch : {10, 70}) {
    MultiLayer<float> l(batch, 129, 70, kTerms, {7, -1, 2, 99, 0}, false, 9000);
    MultiResults<float> clean = run_multi(l.to(Device::cuda), Activation::relu);
    for (float& value : l.adapters[2].a.span()) value = nan;
    for (float& value : l.adapters[1].b.span()) value = nan;
    for (float& value : l.adapters[1].gain.span()) value = nan;
    for (index_t i = 0; i < batch; i += 5) {
      for (index_t k = 0; k < 129; ++k) l.x(i, k) = nan;
      for (index_t o = 0; o < 70; ++o) l.dy(i, o) = nan;
    }
    const MultiLayer<float> gpu = l.to(Device::cuda);
    MultiResults<float> r = run_multi(gpu, Activation::relu);
    Tensor<float> base;
    ops::linear(gpu.x, gpu.w, &gpu.bias, base, Activation::relu);
    base = on_cpu(base);
    for (auto* all : {&r, &clean}) {
      all->for_each([](const std::string&, Tensor<float>& t) { t = on_cpu(t); });
    }
    for (index_t i = 0; i < batch; ++i) {
      const std::int32_t id = (*l.ids)[i];
      INFO("batch " << batch << ", row " << i << " of adapter " << id);
      if (id == -1 || id == 99) CHECK(same_bits(row_of(r.y, i), row_of(base, i)));
      if (id == 7) continue;
      CHECK(same_bits(row_of(r.y, i), row_of(clean.y, i)));
      CHECK(same_bits(row_of(r.h, i), row_of(clean.h, i)));
      CHECK(same_bits(row_of(r.dh, i), row_of(clean.dh, i)));
      CHECK(same_bits(row_of(r.dx, i), row_of(clean.dx, i)));
    }
    for (const std::size_t other : {0u, 3u}) {
      CHECK(same_bits(r.da[other], clean.da[other]));
      CHECK(same_bits(r.db[other], clean.db[other]));
    }
    CHECK(same_bits(r.dgain[0], clean.dgain[0]));
    CHECK(same_bits(r.dgain[2], clean.dgain[2]));
  }
}

TEST_CASE("multi_lora on cuda adds to gradients", "[kernels][multi_lora]") {
  const MultiLayer<float> l(45, 20, 15, kTerms, {7, 2}, true, 9300);
  const MultiLayer<float> gpu = l.to(Device::cuda);
  const auto add = [](const MultiLayer<float>& layer, MultiResults<float> r) {
    Tensor<float> u;
    ops::linear<float>(layer.x, layer.w, nullptr, u);
    const auto terms = layer.terms();
    ops::multi_lora_backward_weights(layer.dy, layer.x, r.h, r.dh, terms[2], layer.row_ids(),
                                     &r.da[2], &r.db[2], true);
    ops::multi_lora_backward_gain(layer.dy, u, r.h, terms, layer.row_ids(), 7, r.dgain[1], true);
    return r;
  };
  check_same_bits(add(gpu, run_multi(gpu, Activation::none)),
                  add(l, run_multi(l, Activation::none)));
}

TEST_CASE("multi_lora's kernels take rows that are not aligned", "[kernels][multi_lora]") {
  const std::vector<TermSpec> specs = sliced_terms(131);
  const TermSpec& spec = specs[2];
  const MultiLayer<float> l(5, 132, 131, specs, {7, 2, -1, 0, 7}, true, 9400);
  const MultiResults<float> expected = run_multi(l, Activation::none);
  const lora::detail::Backend& table = lora::detail::backend();
  const MultiLayer<float> gpu = l.to(Device::cuda);
  const auto ids = gpu.ids->vector();
  Tensor<float> base, dx_base;
  ops::linear<float>(l.x, l.w, nullptr, base);
  ops::linear_backward_input(expected.du, l.w, dx_base);
  for (const auto& [offset, padding] : {std::pair<index_t, index_t>{0, 4}, {1, 0}, {3, 5}}) {
    INFO("offset " << offset << ", padding " << padding);
    std::vector<EmbeddedMatrix> matrices;
    matrices.reserve(2 * specs.size());
    auto terms = gpu.terms();
    for (std::size_t t = 0; t < terms.size(); ++t) {
      terms[t].a = matrices.emplace_back(l.adapters[t].a, offset, padding).view();
      terms[t].b = matrices.emplace_back(l.adapters[t].b, offset, padding).view();
    }
    const lora::detail::AdapterTerms<float> all{terms.data(),
                                                static_cast<std::int64_t>(terms.size())};
    EmbeddedMatrix x(l.x, offset, padding), u(base, offset, padding), dy(l.dy, offset, padding);
    EmbeddedMatrix h(expected.dh, offset, padding), dh(expected.h, offset, padding);
    EmbeddedMatrix y(base, offset, padding), dx(dx_base, offset, padding);
    EmbeddedMatrix da(l.adapters[2].a, offset, padding), db(l.adapters[2].b, offset, padding);
    CHECK(table.multi_lora_shrink(x.view(), all, ids, h.view(), nullptr) == 0);
    CHECK(table.multi_lora_expand(u.view(), h.view(), all, ids, gpu.bias.vector(), y.view(),
                                  Activation::none, nullptr) == 0);
    CHECK(table.multi_lora_backward_shrink(dy.view(), all, ids, dh.view(), nullptr) == 0);
    CHECK(table.multi_lora_backward_input(dh.view(), all, ids, gpu.relu_output.matrix(), dx.view(),
                                          nullptr) == 0);
    const auto own_dy =
        lora::detail::columns_of<const float>(dy.view(), {spec.first_output, spec.outputs});
    CHECK(table.multi_lora_backward_weights(own_dy, x.view(), h.view(), dh.view(), terms[2], ids,
                                            da.view(), db.view(), false, nullptr) == 0);
    CHECK(same_bits(h.values(), expected.h));
    CHECK(same_bits(y.values(), expected.y));
    CHECK(same_bits(dh.values(), expected.dh));
    CHECK(same_bits(dx.values(), expected.dx));
    CHECK(same_bits(da.values(), expected.da[2]));
    CHECK(same_bits(db.values(), expected.db[2]));
  }
}

TEST_CASE("multi_lora in a graph follows its rows' ids", "[kernels][multi_lora][graph]") {
  MultiLayer<float> l(8, 40, 33, kTerms, {7, 2, -1, 0}, true, 9500);
  MultiLayer<float> gpu = l.to(Device::cuda);
  Tensor<float> u, h, y;
  const auto run = [&] {
    // The terms are gone when the graph runs.
    const auto terms = gpu.terms();
    ops::linear<float>(gpu.x, gpu.w, nullptr, u);
    ops::multi_lora_shrink(gpu.x, terms, gpu.row_ids(), h);
    ops::multi_lora_expand(u, h, terms, gpu.row_ids(), &gpu.bias, y);
  };
  run();
  const lora::Graph graph = lora::capture(run);
  for (const std::int32_t id : {0, 2, 99}) {
    INFO("adapter " << id);
    for (std::int32_t& value : l.ids->span()) value = id;
    const Tensor<std::int32_t> ids = on_gpu(*l.ids);
    *gpu.ids = ids;  // copied to where the graph reads them
    graph.launch();
    CHECK(same_bits(on_cpu(y), run_multi(l, Activation::none).y));
  }
}
