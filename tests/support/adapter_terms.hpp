// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <lora/ops/multi_lora.hpp>

#include "support/tensors.hpp"

namespace lora_test {

/// What a test says of a term; the rest is random.
struct TermSpec {
  std::int32_t id;
  index_t rank;
  double scale;
  bool gain, gain_on_base;
  index_t first_output = 0, outputs = 0;  // 0 outputs: all
};

/// Slices of `out` outputs: apart, overlapping, of one adapter with two and of one that is whole as
/// well; between them outputs that none reaches. For 5 outputs and more.
inline std::vector<TermSpec> sliced_terms(index_t out) {
  const index_t third = out / 3;
  return {{0, 3, 0.5, false, true, 0, third},
          {7, 1, 2.0, true, true, third + 1, out - third - 1},
          {7, 8, -1.5, true, false, third + 1, out - third - 1},
          {2, 17, 1.0, true, true, out - 1, 1},
          {2, 2, 0.75, true, true, 1, out - 2},
          {0, 5, -0.5, true, false}};
}

/// Ids of rows: none, all the base's, all one's, mixed, and in runs.
inline const std::vector<std::vector<std::int32_t>> kRowIds = {
    {}, {-1}, {7}, {2, 7, -1, 0, 7, 7, 5, 2}, {0, 0, 0, 7, 7, 2, 2, -1}};

/// A layer's operands with several adapters, and the ids of the rows, if there are any.
template <class T>
struct MultiLayer {
  struct Term {
    TermSpec spec;
    Tensor<T> a, b, gain;
  };

  Tensor<T> x, w, bias, dy, relu_output;
  std::vector<Term> adapters;
  std::optional<Tensor<std::int32_t>> ids;

  MultiLayer() = default;

  /// With `integers`, small whole numbers, whose sums are exact in any order.
  MultiLayer(index_t batch, index_t in, index_t out, const std::vector<TermSpec>& specs,
             const std::vector<std::int32_t>& row_ids, bool integers, std::uint64_t seed) {
    const auto make = [&](Shape shape) {
      return integers ? random_integers<T>(shape, seed++, 2) : random_tensor<T>(shape, seed++);
    };
    x = make({batch, in});
    w = make({out, in});
    bias = make({out});
    dy = make({batch, out});
    relu_output = random_integers<T>({batch, in}, seed++, 1);
    for (TermSpec spec : specs) {
      if (spec.outputs == 0) spec.outputs = out;
      adapters.push_back(
          {spec, make({spec.rank, in}), make({spec.outputs, spec.rank}), make({spec.outputs})});
    }
    if (!row_ids.empty()) {
      ids.emplace(Shape{batch});
      for (index_t i = 0; i < batch; ++i) {
        (*ids)[i] = row_ids[static_cast<std::size_t>(i) % row_ids.size()];
      }
    }
  }

  MultiLayer to(lora::Device device) const {
    MultiLayer copy;
    copy.x = x.to(device);
    copy.w = w.to(device);
    copy.bias = bias.to(device);
    copy.dy = dy.to(device);
    copy.relu_output = relu_output.to(device);
    for (const Term& t : adapters) {
      copy.adapters.push_back({t.spec, t.a.to(device), t.b.to(device), t.gain.to(device)});
    }
    if (ids) copy.ids.emplace(ids->to(device));
    return copy;
  }

  const Tensor<std::int32_t>* row_ids() const { return ids ? &*ids : nullptr; }

  std::vector<lora::detail::AdapterTerm<T>> terms() const {
    std::vector<lora::detail::AdapterTerm<T>> all;
    std::int64_t first = 0;
    for (const Term& t : adapters) {
      all.push_back(lora::detail::adapter_term<T>(t.a, t.b, t.spec.gain ? &t.gain : nullptr,
                                                  t.spec.gain_on_base, t.spec.id, first,
                                                  t.spec.scale, t.spec.first_output));
      first += t.spec.rank;
    }
    return all;
  }

  /// The specs of the terms with gain_on_base: an adapter has one for each of its slices.
  std::vector<TermSpec> gains() const {
    std::vector<TermSpec> all;
    for (const Term& t : adapters) {
      if (t.spec.gain_on_base) all.push_back(t.spec);
    }
    return all;
  }

  static bool have_one_gain(const TermSpec& s, const TermSpec& t) {
    return s.id == t.id && s.first_output == t.first_output && s.outputs == t.outputs;
  }
};

/// Everything the ops give for a layer: the terms' gradients in their order, one of a gain for each
/// of gains().
template <class T>
struct MultiResults {
  Tensor<T> h, y, du, dh, dx;
  std::vector<Tensor<T>> da, db, dgain;

  /// Every tensor with its name.
  template <class F>
  void for_each(const F& f) {
    f("h", h);
    f("y", y);
    f("du", du);
    f("dh", dh);
    f("dx", dx);
    for (std::size_t t = 0; t < da.size(); ++t) f("da " + std::to_string(t), da[t]);
    for (std::size_t t = 0; t < db.size(); ++t) f("db " + std::to_string(t), db[t]);
    for (std::size_t t = 0; t < dgain.size(); ++t) f("dgain " + std::to_string(t), dgain[t]);
  }
};

/// The layer by the ops, forward and backward.
template <class T>
MultiResults<T> run_multi(const MultiLayer<T>& l, lora::Activation activation) {
  namespace ops = lora::ops;
  MultiResults<T> r;
  const auto terms = l.terms();
  const auto* ids = l.row_ids();
  Tensor<T> u;
  ops::linear<T>(l.x, l.w, nullptr, u);
  ops::multi_lora_shrink(l.x, terms, ids, r.h);
  ops::multi_lora_expand(u, r.h, terms, ids, &l.bias, r.y, activation);
  ops::multi_lora_backward_output(l.dy, terms, ids, r.du);
  ops::multi_lora_backward_shrink(l.dy, terms, ids, r.dh);
  ops::linear_backward_input(r.du, l.w, r.dx);
  ops::multi_lora_backward_input(r.dh, terms, ids, &l.relu_output, r.dx);
  for (const auto& term : terms) {
    r.da.emplace_back();
    r.db.emplace_back();
    ops::multi_lora_backward_weights(l.dy, l.x, r.h, r.dh, term, ids, &r.da.back(), &r.db.back());
  }
  for (const TermSpec& gain : l.gains()) {
    std::vector<lora::detail::AdapterTerm<T>> own;
    for (std::size_t t = 0; t < terms.size(); ++t) {
      const TermSpec& spec = l.adapters[t].spec;
      if (spec.id != gain.id || l.have_one_gain(spec, gain)) own.push_back(terms[t]);
    }
    r.dgain.emplace_back();
    ops::multi_lora_backward_gain(l.dy, u, r.h, own, ids, gain.id, r.dgain.back());
  }
  return r;
}

/// The same by the formulas, one element after the other, in double.
template <class T>
MultiResults<double> reference_multi(const MultiLayer<T>& l, lora::Activation activation) {
  const index_t batch = l.x.dim(0), in = l.x.dim(1), out = l.w.dim(0);
  index_t columns = 0;
  for (const auto& t : l.adapters) columns += t.spec.rank;
  const auto applies = [&](const auto& t, index_t i) { return !l.ids || (*l.ids)[i] == t.spec.id; };
  // Over all outputs: 1 and 0 where the term does not reach.
  const auto reaches = [](const auto& spec, index_t o) {
    return o >= spec.first_output && o < spec.first_output + spec.outputs;
  };
  const auto gain = [&](const auto& t, index_t o) {
    const bool has = t.spec.gain && reaches(t.spec, o);
    return has ? double{t.gain[o - t.spec.first_output]} : 1.0;
  };
  const auto b = [&](const auto& t, index_t o, index_t c) {
    return reaches(t.spec, o) ? double{t.b(o - t.spec.first_output, c)} : 0.0;
  };
  const auto u = [&](index_t i, index_t o) {
    double sum = 0;
    for (index_t k = 0; k < in; ++k) sum += double{l.x(i, k)} * double{l.w(o, k)};
    return sum;
  };

  MultiResults<double> r;
  r.h = r.dh = Tensor<double>({batch, columns});
  r.y = r.du = Tensor<double>({batch, out});
  r.dx = Tensor<double>({batch, in});
  for (const auto& t : l.adapters) {
    r.da.emplace_back(t.a.shape());
    r.db.emplace_back(t.b.shape());
  }
  const auto gains = l.gains();
  for (const TermSpec& spec : gains) {
    r.dgain.emplace_back(Shape{spec.outputs});
    for (index_t s = 0; s < spec.outputs; ++s) {
      const index_t o = spec.first_output + s;
      for (index_t i = 0; i < batch; ++i) {
        if (!l.ids || (*l.ids)[i] == spec.id) r.dgain.back()[s] += double{l.dy(i, o)} * u(i, o);
      }
    }
  }
  for (index_t i = 0; i < batch; ++i) {
    for (index_t o = 0; o < out; ++o) {
      const double base = u(i, o);
      double factor = 1;
      for (const auto& t : l.adapters) {
        if (applies(t, i) && t.spec.gain_on_base) factor += gain(t, o) - 1;
      }
      r.y(i, o) = double{l.bias[o]} + factor * base;
      r.du(i, o) = factor * double{l.dy(i, o)};
      for (index_t k = 0; k < in; ++k) r.dx(i, k) += r.du(i, o) * double{l.w(o, k)};
    }
    index_t first = 0;
    for (std::size_t n = 0; n < l.adapters.size(); first += l.adapters[n++].spec.rank) {
      const auto& t = l.adapters[n];
      if (!applies(t, i)) continue;
      for (index_t c = 0; c < t.spec.rank; ++c) {
        double& h = r.h(i, first + c);
        double& dh = r.dh(i, first + c);
        for (index_t k = 0; k < in; ++k) h += t.spec.scale * double{l.x(i, k)} * double{t.a(c, k)};
        for (index_t o = 0; o < out; ++o) {
          const index_t own = o - t.spec.first_output;
          const double g_dy = gain(t, o) * double{l.dy(i, o)};
          r.y(i, o) += gain(t, o) * h * b(t, o, c);
          if (reaches(t.spec, o)) r.db[n](own, c) += g_dy * h;
          dh += t.spec.scale * g_dy * b(t, o, c);
          for (std::size_t g = 0; g < gains.size(); ++g) {
            if (!l.have_one_gain(gains[g], t.spec) || !reaches(t.spec, o)) continue;
            r.dgain[g][own] += double{l.dy(i, o)} * h * b(t, o, c);
          }
        }
        for (index_t k = 0; k < in; ++k) {
          r.da[n](c, k) += dh * double{l.x(i, k)};
          r.dx(i, k) += dh * double{t.a(c, k)};
        }
      }
    }
    for (index_t o = 0; o < out; ++o) {
      if (activation == lora::Activation::relu && r.y(i, o) < 0) r.y(i, o) = 0;
    }
    for (index_t k = 0; k < in; ++k) {
      if (l.relu_output(i, k) <= 0) r.dx(i, k) = 0;
    }
  }
  return r;
}

/// The sizes and ids, for failure messages.
template <class T>
std::string text(const MultiLayer<T>& l) {
  std::string ids;
  for (index_t i = 0; l.ids && i < l.ids->numel(); ++i) ids += std::to_string((*l.ids)[i]) + " ";
  return "x " + l.x.shape().to_string() + ", w " + l.w.shape().to_string() + ", ids " + ids;
}

/// Checks everything that the ops give against reference_multi().
inline void check_formulas(const MultiLayer<double>& l, lora::Activation activation,
                           std::uint64_t seed) {
  INFO(text(l) << ", seed " << seed);
  MultiResults<double> expected = reference_multi(l, activation);
  MultiResults<double> r = run_multi(l, activation);
  std::vector<Tensor<double>> all;
  expected.for_each([&](const std::string&, Tensor<double>& t) { all.push_back(t); });
  std::size_t next = 0;
  r.for_each([&](const std::string& name, Tensor<double>& t) {
    INFO(name);
    CHECK(max_error(t, all.at(next++)) < 1e-11);
  });
}

}  // namespace lora_test
