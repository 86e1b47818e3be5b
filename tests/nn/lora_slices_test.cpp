// SPDX-License-Identifier: MIT
#include <lora/nn/lora_linear.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

#include <lora/nn/lora_init.hpp>

#include "support/adapters.hpp"

// Adapters of slices of a layer's outputs, as of the queries, keys and values of one projection.

using namespace lora_test;
using lora::LoRAAdapter;
using lora::LoRAConfig;
using lora::LoRALinear;
using lora::OutputSlice;

namespace {

constexpr index_t kIn = 9, kOut = 15;

template <class T>
using Adapters = std::vector<LoRAAdapter<T>*>;

/// Queries, keys and values of 5 outputs each.
template <class T>
std::shared_ptr<lora::Linear<T>> make_base(bool bias = true) {
  lora::PhiloxGenerator generator(5);
  auto base = std::make_shared<lora::Linear<T>>(kIn, kOut, generator, bias);
  base->split_outputs({"q", "k", "v"});
  return base;
}

template <class T>
LoRAAdapter<T>& add(LoRALinear<T>& layer, const std::string& name, const std::string& slice,
                    const LoRAConfig& config) {
  lora::PhiloxGenerator generator(7);
  const OutputSlice* found = nullptr;
  for (const OutputSlice& each : layer.base().output_slices()) {
    if (each.name == slice) found = &each;
  }
  LoRAAdapter<T>& adapter = layer.insert(
      lora::detail::make_lora_adapter(*layer.shared_base(), config, generator, name, found));
  randomize_adapter(layer, name, 6 + name.size());
  return adapter;
}

struct Variant {
  const char* name;
  LoRAConfig q, v;
};

std::vector<Variant> variants() {
  return {
      {"plain", {.r = 3, .lora_alpha = 5}, {.r = 1, .lora_alpha = 2}},
      {"rsLoRA", {.r = 4, .use_rslora = true}, {.r = 2}},
      {"DoRA", {.r = 3, .use_dora = true}, {.r = 2, .use_dora = true}},
      {"DoRA beside LoRA", {.r = 3, .use_dora = true}, {.r = 1}},
      {"a bias of B's", {.r = 2, .lora_alpha = 3, .lora_bias = true}, {.r = 3, .lora_bias = true}},
      {"PiSSA", {.r = 2, .init_lora_weights = lora::pissa()}, {.r = 1}},
      {"OLoRA",
       {.r = 2, .init_lora_weights = lora::olora()},
       {.r = 3, .init_lora_weights = lora::olora()}}};
}

/// Two adapters of slices, and with `whole` one of the layer; all of them active.
template <class T>
LoRALinear<T> make_layer(const Variant& variant, bool whole = false, bool bias = true) {
  LoRALinear<T> layer(make_base<T>(bias));
  add(layer, "q_one", "q", variant.q);
  add(layer, "the_v_one", "v", variant.v);
  if (whole) add(layer, "whole", "", {.r = 2, .lora_alpha = 1});
  layer.set_active({"q_one", "the_v_one", "whole"});
  return layer;
}

template <class T>
Adapters<T> adapters_of(LoRALinear<T>& layer) {
  Adapters<T> all;
  for (const std::string& name : layer.adapter_names()) {
    for (LoRAAdapter<T>* part : layer.parts_of_adapter(name)) all.push_back(part);
  }
  return all;
}

/// Row o of W + s (B A - B₀ A₀) of one adapter.
template <class T>
std::vector<double> adapted_row(const lora::Linear<T>& base, const LoRAAdapter<T>& adapter,
                                index_t o) {
  std::vector<double> row;
  const index_t own = o - adapter.first_output;
  for (index_t k = 0; k < kIn; ++k) {
    double sum = 0;
    for (index_t r = 0; r < adapter.rank(); ++r) {
      sum += double{adapter.lora_B.value(own, r)} * double{adapter.lora_A.value(r, k)};
      if (adapter.initial_A.empty()) continue;
      sum -= double{adapter.initial_B(own, r)} * double{adapter.initial_A(r, k)};
    }
    row.push_back(double{base.weight.value(o, k)} + adapter.scale * adapter.strength * sum);
  }
  return row;
}

double length(const std::vector<double>& row) {
  double square = 0;
  for (const double element : row) square += element * element;
  return std::sqrt(square);
}

/// The rows' lengths that DoRA holds constant in its gradient, for each adapter.
template <class T>
std::vector<std::vector<double>> lengths_of(const lora::Linear<T>& base,
                                            const Adapters<T>& adapters) {
  std::vector<std::vector<double>> all;
  for (const auto* adapter : adapters) {
    all.emplace_back();
    for (index_t s = 0; s < adapter->lora_B.value.dim(0); ++s) {
      all.back().push_back(length(adapted_row(base, *adapter, adapter->first_output + s)));
    }
  }
  return all;
}

/// The output with the adapters, from the weight that they make together.
template <class T>
Tensor<double> reference(const lora::Linear<T>& base, const Adapters<T>& adapters,
                         const Tensor<T>& x, const std::vector<std::vector<double>>& lengths) {
  Tensor<double> y({x.dim(0), kOut});
  for (index_t o = 0; o < kOut; ++o) {
    std::vector<double> weight;
    for (index_t k = 0; k < kIn; ++k) weight.push_back(double{base.weight.value(o, k)});
    double bias = base.has_bias() ? double{base.bias.value[o]} : 0.0;
    for (std::size_t n = 0; n < adapters.size(); ++n) {
      const LoRAAdapter<T>& adapter = *adapters[n];
      const index_t own = o - adapter.first_output;
      if (own < 0 || own >= adapter.lora_B.value.dim(0)) continue;
      const std::vector<double> row = adapted_row(base, adapter, o);
      double gain = 1;
      if (!adapter.magnitude.value.empty()) {
        gain = double{adapter.magnitude.value[own]} / lengths[n][static_cast<std::size_t>(own)];
      }
      for (index_t k = 0; k < kIn; ++k) {
        const auto at = static_cast<std::size_t>(k);
        weight[at] += gain * row[at] - double{base.weight.value(o, k)};
      }
      if (!adapter.lora_B_bias.value.empty()) {
        bias += adapter.scale * adapter.strength * double{adapter.lora_B_bias.value[own]};
      }
    }
    for (index_t i = 0; i < x.dim(0); ++i) {
      y(i, o) = bias;
      for (index_t k = 0; k < kIn; ++k) {
        y(i, o) += weight[static_cast<std::size_t>(k)] * double{x(i, k)};
      }
    }
  }
  return y;
}

template <class T>
Tensor<double> reference(const lora::Linear<T>& base, const Adapters<T>& adapters,
                         const Tensor<T>& x) {
  return reference(base, adapters, x, lengths_of(base, adapters));
}

template <class T>
Tensor<T> rows_of(const Tensor<T>& x, index_t first, index_t count) {
  Tensor<T> rows({count, x.dim(1)});
  std::copy_n(x.data() + first * x.dim(1), rows.numel(), rows.data());
  return rows;
}

}  // namespace

TEST_CASE("adapters of slices give the output of the weight they make", "[nn][lora][slices]") {
  for (const Variant& variant : variants()) {
    for (const bool whole : {false, true}) {
      for (const index_t batch : {0, 1, 5, 70}) {
        INFO(variant.name << ", a whole one " << whole << ", batch " << batch);
        auto layer = make_layer<float>(variant, whole);
        const auto x = random_tensor<float>({batch, kIn}, 2);
        CHECK(max_error(layer.forward(x), reference(layer.base(), adapters_of(layer), x)) < 1e-5);
      }
      INFO(variant.name << ", a whole one " << whole << ", no bias, in double");
      auto layer = make_layer<double>(variant, whole, false);
      const auto x = random_tensor<double>({6, kIn}, 2);
      const Tensor<double> sequences({2, 3, kIn}, x.span());
      const Tensor<double> y = layer.forward(x), of_sequences = layer.forward(sequences);
      CHECK(max_error(y, reference(layer.base(), adapters_of(layer), x)) < 1e-13);
      CHECK(of_sequences.shape() == Shape{2, 3, kOut});
      CHECK(same_bits(Tensor<double>({6, kOut}, of_sequences.span()), y));
    }
  }
}

TEST_CASE("the gradients of slices match finite differences", "[nn][lora][gradient][slices]") {
  for (const Variant& variant : variants()) {
    for (const bool whole : {false, true}) {
      INFO(variant.name << ", a whole one " << whole);
      auto layer = make_layer<double>(variant, whole);
      auto x = random_tensor<double>({4, kIn}, 4);
      const auto c = random_tensor<double>({4, kOut}, 5);
      lora::Saved<double> saved;
      Tensor<double> dx;
      layer.forward(x, saved);
      layer.backward(c, saved, &dx);
      const auto adapters = adapters_of(layer);
      const auto lengths = lengths_of(layer.base(), adapters);
      const auto loss = [&] { return dot(reference(layer.base(), adapters, x, lengths), c); };
      check_gradient(x, dx, loss);
      for (const std::string& name : layer.adapter_names()) {
        for (const auto& named : lora::adapter_parameters(layer, name)) {
          INFO(named.name);
          REQUIRE_FALSE(named.parameter->grad.empty());
          check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
        }
      }
    }
  }
}

TEST_CASE("an adapter of a slice leaves the other outputs their bits", "[nn][lora][slices]") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    auto layer = make_layer<float>(variant);
    layer.set_active({"the_v_one"});
    const auto x = random_tensor<float>({5, kIn}, 2);
    const Tensor<float> y = layer.forward(x), base = layer.base().forward(x);
    for (index_t i = 0; i < 5; ++i) {
      for (index_t o = 0; o < kOut; ++o) CHECK((y(i, o) == base(i, o)) == (o < 10));
    }
  }
}

TEST_CASE("slices merge and unmerge to the bit", "[nn][lora][merge][slices]") {
  for (const Variant& variant : variants()) {
    for (const bool whole : {false, true}) {
      INFO(variant.name << ", a whole one " << whole);
      auto layer = make_layer<float>(variant, whole);
      const auto x = random_tensor<float>({5, kIn}, 2);
      const Tensor<float> before = layer.base().weight.value;
      const Tensor<float> apart = layer.forward(x);
      const Tensor<float> effective = layer.effective_weight();
      layer.merge();
      const Tensor<float>& merged = layer.base().weight.value;
      CHECK(same_bits(merged, effective));
      CHECK(max_error(layer.forward(x), apart) < 1e-5);
      CHECK(same_bits(rows_of(merged, 5, 5), rows_of(before, 5, 5)) == !whole);
      CHECK_FALSE(same_bits(rows_of(merged, 0, 5), rows_of(before, 0, 5)));
      CHECK_FALSE(same_bits(rows_of(merged, 10, 5), rows_of(before, 10, 5)));
      layer.unmerge();
      CHECK(same_bits(layer.base().weight.value, before));
      CHECK(same_bits(layer.forward(x), apart));
    }
  }
}

TEST_CASE("rows of one batch use different adapters of slices", "[nn][lora][gradient][slices]") {
  // "one" has all three slices, of several kinds, "two" the values and the whole layer.
  auto base = make_base<double>();
  std::vector<std::unique_ptr<LoRAAdapter<double>>> owned;
  Adapters<double> all;
  const auto make = [&](const char* name, const OutputSlice* slice, const LoRAConfig& config) {
    lora::PhiloxGenerator generator(40 + owned.size());
    owned.push_back(lora::detail::make_lora_adapter(*base, config, generator, name, slice));
    owned.back()->for_each_parameter([&](const char*, lora::Parameter<double>& parameter) {
      generator.normal(parameter.value.span(), 1.0, 0.5);
    });
    all.push_back(owned.back().get());
  };
  const auto& slices = base->output_slices();
  make("one", &slices[0], {.r = 2, .use_dora = true});
  make("two", &slices[2], {.r = 3, .lora_bias = true});
  make("one", &slices[1], {.r = 1, .lora_bias = true});
  make("one", &slices[2], {.r = 4, .use_dora = true});
  make("two", nullptr, {.r = 2, .init_lora_weights = lora::pissa()});

  lora::detail::AdapterIds ids;
  ids.names = {"one", "two"};
  lora::Saved<double> saved;
  ids.of_sample = Tensor<std::int32_t>({6}, {1, 0, 0, -1, 1, 0});
  auto x = random_tensor<double>({6, kIn}, 2);
  const auto c = random_tensor<double>({6, kOut}, 3);
  Tensor<double> dx;
  lora::detail::AdapterPass<double>(*base, all, &ids, saved).forward(x, true);
  lora::detail::AdapterPass<double>(*base, all, &ids, saved).backward(x, c, &dx, true);

  const auto lengths = lengths_of(*base, all);
  const auto expected = [&] {
    Tensor<double> y({6, kOut});
    for (index_t i = 0; i < 6; ++i) {
      Adapters<double> own;
      std::vector<std::vector<double>> own_lengths;
      for (std::size_t n = 0; n < all.size(); ++n) {
        if (ids.number_of(all[n]->name) != ids.of_sample[i]) continue;
        own.push_back(all[n]);
        own_lengths.push_back(lengths[n]);
      }
      const auto row = reference(*base, own, rows_of(x, i, 1), own_lengths);
      std::copy_n(row.data(), kOut, y.data() + i * kOut);
    }
    return y;
  };
  CHECK(max_error(saved.output, expected()) < 1e-12);
  const auto loss = [&] { return dot(expected(), c); };
  check_gradient(x, dx, loss);
  for (const auto& adapter : owned) {
    adapter->for_each_parameter([&](const char* name, lora::Parameter<double>& parameter) {
      INFO(name);
      check_gradient(parameter.value, parameter.grad.dense(), loss);
    });
  }
}

TEST_CASE("an adapter of a slice starts as one of a Linear with these rows",
          "[nn][lora][slices][init]") {
  auto base = make_base<double>();
  const auto x = random_tensor<double>({20, kIn}, 2);
  const auto dy = random_tensor<double>({20, kOut}, 3);
  Tensor<double> own_dy({20, 5});
  for (index_t i = 0; i < 20; ++i) {
    for (index_t s = 0; s < 5; ++s) own_dy(i, s) = dy(i, 5 + s);
  }
  lora::PhiloxGenerator unused(1);
  lora::Linear<double> alone(kIn, 5, unused);
  alone.weight.value = rows_of(base->weight.value, 5, 5);
  base->weight.grad.accumulate_outer(dy, x);
  alone.weight.grad.accumulate_outer(own_dy, x);
  const OutputSlice& keys = base->output_slices()[1];
  for (const LoRAConfig& config : std::vector<LoRAConfig>{
           {.r = 2},
           {.r = 2, .lora_dropout = 0.5, .use_dora = true},
           {.r = 3, .lora_bias = true, .init_lora_weights = lora::LoRAInit::gaussian},
           {.r = 2, .init_lora_weights = lora::orthogonal()},
           {.r = 2, .init_lora_weights = lora::pissa()},
           {.r = 2, .init_lora_weights = lora::olora()},
           {.r = 2, .init_lora_weights = lora::lora_ga()}}) {
    INFO("kind " << config.init_lora_weights.kind << ", rank " << config.r);
    lora::PhiloxGenerator one(9), other(9);
    const auto adapter = lora::detail::make_lora_adapter(*base, config, one, "a", &keys);
    const auto expected = lora::detail::make_lora_adapter(alone, config, other, "a");
    CHECK(adapter->slice == "k");
    CHECK(adapter->first_output == 5);
    CHECK(adapter->terms() == (config.init_lora_weights.product_is_zero ? 1u : 2u));
    CHECK(max_error(adapter->lora_A.value, expected->lora_A.value) < 1e-12);
    CHECK(max_error(adapter->lora_B.value, expected->lora_B.value) < 1e-12);
    CHECK(same_bits(adapter->magnitude.value, expected->magnitude.value));
    CHECK(same_bits(adapter->lora_B_bias.value, expected->lora_B_bias.value));
    CHECK(same_bits(adapter->initial_A,
                    adapter->terms() == 2 ? adapter->lora_A.value : Tensor<double>{}));
    CHECK(adapter->dropout_seed == expected->dropout_seed);
    CHECK_FALSE(adapter->is_plain());
  }
}

TEST_CASE("what an adapter of a slice learns is named after it", "[nn][lora][slices]") {
  LoRALinear<float> layer(make_base<float>());
  add(layer, "one", "q", {.r = 2, .use_dora = true});
  add(layer, "two", "v", {.r = 1, .lora_bias = true});
  std::vector<std::string> names;
  for (const auto& named : layer.named_parameters()) names.push_back(named.name);
  CHECK(names ==
        std::vector<std::string>{"weight", "bias", "q.lora_A.one.weight", "q.lora_B.one.weight",
                                 "q.lora_magnitude_vector.one.weight", "v.lora_A.two.weight",
                                 "v.lora_B.two.weight", "v.lora_B.two.bias"});
}

TEST_CASE("an adapter of a slice is a plain one after convert_to_lora", "[nn][lora][slices]") {
  LoRALinear<float> layer(make_base<float>());
  auto& adapter = add(layer, "one", "v", {.r = 2, .init_lora_weights = lora::pissa()});
  layer.set_active({"one"});
  const auto x = random_tensor<float>({5, kIn}, 2);
  const Tensor<float> before = layer.forward(x);
  lora::convert_to_lora(layer, "one");
  CHECK(adapter.lora_B.value.shape() == Shape{5, 4});
  CHECK(max_error(layer.forward(x), before) < 1e-5);
}

TEST_CASE("slices that cannot be had", "[nn][lora][slices][errors]") {
  lora::PhiloxGenerator generator(1);
  auto base = make_base<float>();
  const OutputSlice& values = base->output_slices()[2];
  const auto make = [&](const LoRAConfig& config, const OutputSlice& slice) {
    lora::detail::make_lora_adapter(*base, config, generator, "a", &slice);
  };
  CHECK_THROWS_WITH(make({.r = 6}, values),
                    contains("r is 6 for v of Linear(9, 15): expected 1 to 5"));
  CHECK_THROWS_WITH(make({.r = 2, .bias = lora::LoRABias::all}, values),
                    contains("slice \"v\" of Linear(9, 15) has none of its own"));
  for (const OutputSlice& slice : {OutputSlice{"far", 11, 5}, {"far", -1, 5}, {"far", 0, 0}}) {
    CHECK_THROWS_WITH(make({.r = 1}, slice), contains("Linear(9, 15) has no slice \"far\" of "));
  }
  LoRALinear<float> layer(base);
  add(layer, "one", "q", {.r = 2});
  CHECK_THROWS_WITH(lora::add_weighted_adapter(layer, {"one"}, {1.0}, "sum"),
                    contains("is not a product B A alone"));
}
