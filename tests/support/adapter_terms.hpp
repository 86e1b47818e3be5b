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
};

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
    for (const TermSpec& spec : specs) {
      adapters.push_back({spec, make({spec.rank, in}), make({out, spec.rank}), make({out})});
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
                                                  t.spec.scale));
      first += t.spec.rank;
    }
    return all;
  }

  /// The adapters' ids, each once.
  std::vector<std::int32_t> adapter_ids() const {
    std::vector<std::int32_t> all;
    for (const Term& t : adapters) {
      if (t.spec.gain_on_base) all.push_back(t.spec.id);
    }
    return all;
  }
};

/// Everything the ops give for a layer: the terms' gradients in their order, one of a gain for each
/// of adapter_ids().
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
  for (const std::int32_t id : l.adapter_ids()) {
    r.dgain.emplace_back();
    ops::multi_lora_backward_gain(l.dy, u, r.h, terms, ids, id, r.dgain.back());
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
  const auto gain = [](const auto& t, index_t o) { return t.spec.gain ? double{t.gain[o]} : 1.0; };
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
  for (const std::int32_t id : l.adapter_ids()) {
    r.dgain.emplace_back(Shape{out});
    for (index_t o = 0; o < out; ++o) {
      for (index_t i = 0; i < batch; ++i) {
        if (!l.ids || (*l.ids)[i] == id) r.dgain.back()[o] += double{l.dy(i, o)} * u(i, o);
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
          const double g_dy = gain(t, o) * double{l.dy(i, o)};
          r.y(i, o) += gain(t, o) * h * double{t.b(o, c)};
          r.db[n](o, c) += g_dy * h;
          dh += t.spec.scale * g_dy * double{t.b(o, c)};
          const auto adapters = l.adapter_ids();
          for (std::size_t a = 0; a < adapters.size(); ++a) {
            if (adapters[a] != t.spec.id) continue;
            r.dgain[a][o] += double{l.dy(i, o)} * h * double{t.b(o, c)};
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

}  // namespace lora_test
