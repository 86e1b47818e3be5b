// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <lora/activation.hpp>
#include <lora/cpu/multi_lora.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/detail/output_range.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// Multi-LoRA: one layer runs several adapters, all of them on all rows of the batch or, where there
// are ids, on row i those with id ids[i], so that one batch serves users of different adapters. The
// base product u = x Wᵀ is shared; to it each adapter adds its terms, by shrink (h = s x Aᵀ) and
// expand (h Bᵀ), as in Chen et al., "Punica: Multi-Tenant LoRA Serving", 2023 (arXiv 2310.18547),
// and Sheng et al., "S-LoRA", 2023 (arXiv 2311.03285). DoRA (Liu et al., 2024, arXiv 2402.09353)
// scales each output by a gain g, a magnitude over a norm: that of its terms, and that of the base,
// which one term of the adapter says (a sum Σ_base below goes over these).
//
// x: (B, I), W: (O, I), bias: (O,), ids: (B,). Term t: A (R_t, I), B (S_t, R_t), g_t (S_t,), scale
// s_t, and its R_t columns of h and dh, (B, ΣR). It reaches S_t of the outputs, neighbours: all, or
// a slice of a fused projection, as the queries of (queries, keys, values); below, its g is 1 and
// its B 0 in the others. For row i, over the terms t that apply to it:
//
// h_t = s_t x A_tᵀ,  y = act(bias + u + Σ_base (g_t - 1) ∘ u + Σ_t g_t ∘ (h_t B_tᵀ))
// du = dy ∘ (1 + Σ_base (g_t - 1)),  dh_t = s_t (g_t ∘ dy) B_t,  dx = du W + Σ_t dh_t A_t
//
// and over the rows to which it applies
//
// dA_t = dh_tᵀ x,  dB_t = (g_t ∘ dy)ᵀ h_t,  dg = Σ_rows dy ∘ (u + Σ_t h_t B_tᵀ), t of one adapter
//
// h and dh are 0 where a term does not apply. A row whose id no term has is the base's, bit for
// bit: what ops::linear gives. No row touches another: where an adapter is NaN, its rows alone are.
//
// Outputs are resized to fit, except gradients that are accumulated into and what is added to.
// Errors: ShapeError, ValueError and DeviceError.

namespace lora::inline v0::detail {

/// A term of matrices that the caller keeps: A (R, I), B (S, R), and a gain (S,) unless it is null.
template <class T>
AdapterTerm<T> adapter_term(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>* gain,
                            bool gain_on_base, std::int32_t id, std::int64_t first, double scale,
                            std::int64_t first_output = 0) {
  constexpr const char* kOp = "adapter_term";
  require_equal_dims(kOp, "lora_A", a, 0, "lora_B", b, 1);
  if (gain) require_equal_dims(kOp, "gain", *gain, 0, "lora_B", b, 0);
  return {a.matrix(), b.matrix(), optional_vector(gain), gain_on_base, id,
          first,      scale,      first_output};
}

/// Any container of terms in a row of memory; T comes from the other arguments.
template <class T>
using TermSpan = std::span<const std::type_identity_t<AdapterTerm<T>>>;

/// What the checks of terms look at.
struct TermFacts {
  std::int64_t index, a_rows, a_cols, b_rows, b_cols, gain, first, first_output;
};

[[noreturn]] LORA_NEVER_INLINE inline void throw_term_error(const char* op, const TermFacts& t,
                                                            const std::string& rule) {
  const auto size = [](std::int64_t rows, std::int64_t cols) {
    return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
  };
  throw ShapeError(std::string(op) + ": term " + std::to_string(t.index) + " has lora_A " +
                   size(t.a_rows, t.a_cols) + ", lora_B " + size(t.b_rows, t.b_cols) +
                   ", columns of h from " + std::to_string(t.first) + " and outputs from " +
                   std::to_string(t.first_output) + ": " + rule);
}

/// The sizes that a term must fit; kAny where an op does not know one.
struct TermLimits {
  static constexpr std::int64_t kAny = -1;
  std::int64_t in, out, columns;
};

inline void check_term(const char* op, const TermFacts& t, const TermLimits& limits) {
  const auto lie_within = [](std::int64_t first, std::int64_t count, std::int64_t limit) {
    return limit == TermLimits::kAny || (first >= 0 && first <= limit - count);
  };
  if (t.a_rows < 1 || t.a_rows != t.b_cols) {
    throw_term_error(op, t, "size 0 of lora_A must equal size 1 of lora_B and be at least 1");
  }
  if (limits.in != TermLimits::kAny && t.a_cols != limits.in) {
    throw_term_error(op, t, "size 1 of lora_A must be " + std::to_string(limits.in));
  }
  if (!lie_within(t.first_output, t.b_rows, limits.out)) {
    throw_term_error(op, t,
                     "the outputs must lie within the layer's " + std::to_string(limits.out));
  }
  if (t.gain != 0 && t.gain != t.b_rows) {
    throw_term_error(op, t,
                     "the gain has " + std::to_string(t.gain) + " elements, not one an output");
  }
  if (!lie_within(t.first, t.a_rows, limits.columns)) {
    throw_term_error(op, t,
                     "the columns must lie within h, which has " + std::to_string(limits.columns));
  }
}

template <class T>
TermFacts facts_of(const AdapterTerm<T>& term, std::size_t index) {
  return {
      static_cast<std::int64_t>(index),    term.a.rows, term.a.cols,      term.b.rows, term.b.cols,
      term.gain.data ? term.gain.size : 0, term.first,  term.first_output};
}

template <class T>
AdapterTerms<T> checked_terms(const char* op, std::span<const AdapterTerm<T>> terms,
                              const TermLimits& limits) {
  for (std::size_t t = 0; t < terms.size(); ++t) check_term(op, facts_of(terms[t], t), limits);
  return {terms.data(), static_cast<std::int64_t>(terms.size())};
}

/// For the ops that write h or dh: it has the terms' columns side by side, in their order.
template <class T>
AdapterTerms<T> prepare_low_rank(const char* op, std::span<const AdapterTerm<T>> terms,
                                 TermLimits limits, const Tensor<T>& rows, Tensor<T>& h) {
  limits.columns = 0;
  for (const AdapterTerm<T>& term : terms) limits.columns += term.a.rows;
  const AdapterTerms<T> checked = checked_terms(op, terms, limits);
  std::int64_t next = 0;
  for (std::size_t t = 0; t < terms.size(); next += terms[t].a.rows, ++t) {
    if (terms[t].first != next) {
      throw_term_error(op, facts_of(terms[t], t),
                       "the columns must begin at " + std::to_string(next) +
                           ", behind those of the term before");
    }
  }
  h.resize({rows.rows(), limits.columns}, rows.device());
  return checked;
}

template <class T>
VectorView<const std::int32_t> checked_ids(const char* op, const Tensor<std::int32_t>* ids,
                                           const char* name, const Tensor<T>& rows) {
  if (!ids) return {nullptr, 0};
  require_equal_dims(op, "ids", *ids, 0, name, rows, 0);
  return ids->vector();
}

/// The gradient of one of a term's matrices, if it is wanted.
template <class T>
MatrixView<T> prepare_term_gradient(const char* op, const char* name, Tensor<T>* gradient,
                                    const MatrixView<const T>& value, const Tensor<T>& x,
                                    bool accumulate) {
  if (!gradient) return {nullptr, 0, 0, 0};
  const Shape shape{value.rows, value.cols};
  if (!accumulate) {
    gradient->resize(shape, x.device());
  } else if (gradient->shape() != shape || gradient->device() != x.device()) {
    throw ShapeError(std::string(op) + ": " + name + " is " + describe(*gradient) +
                     ", to be added to it must be " + describe(shape, x.device()));
  }
  return gradient->matrix();
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_gain_error(const char* op, std::int32_t id,
                                                            std::ptrdiff_t count) {
  throw ValueError(std::string(op) + ": adapter " + std::to_string(id) + " has " +
                   std::to_string(count) + " terms with gain_on_base, exactly 1 is expected");
}

template <class T>
OutputRange outputs_of(const AdapterTerm<T>& term) {
  return {term.first_output, term.b.rows};
}

/// The outputs of the terms with this id, which one gain is for.
template <class T>
OutputRange outputs_of_adapter(const char* op, AdapterTerms<T> terms, std::int32_t id) {
  const AdapterTerm<T>* on_base = nullptr;
  std::ptrdiff_t count = 0;
  for (const AdapterTerm<T>& term : terms) {
    if (term.id != id || !term.gain_on_base) continue;
    on_base = &term;
    ++count;
  }
  if (count != 1) throw_gain_error(op, id, count);
  for (const AdapterTerm<T>& term : terms) {
    const bool is_other =
        term.first_output != on_base->first_output || term.b.rows != on_base->b.rows;
    if (term.id != id || !is_other) continue;
    throw_term_error(op, facts_of(term, static_cast<std::size_t>(&term - terms.data)),
                     "the outputs must be those of the adapter's other terms");
  }
  return outputs_of(*on_base);
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// h = s x Aᵀ for each term in its columns, 0 in the rows to which it does not apply.
template <class T>
void multi_lora_shrink(const Tensor<T>& x, detail::TermSpan<T> terms,
                       const Tensor<std::int32_t>* ids, Tensor<T>& h) {
  constexpr const char* kOp = "multi_lora_shrink";
  const auto rows = detail::checked_ids(kOp, ids, "x", x);
  const auto all =
      detail::prepare_low_rank<T>(kOp, terms, {x.matrix().cols, detail::TermLimits::kAny, 0}, x, h);
  detail::dispatch<T>(kOp, x.device(), cpu::multi_lora_shrink<T>,
                      &detail::Backend::multi_lora_shrink, x.matrix(), all, rows, h.matrix());
}

/// y = act(bias + u + Σ_base (g - 1) ∘ u + Σ g ∘ (h Bᵀ)); `bias` may be null, y may be u.
template <class T>
void multi_lora_expand(const Tensor<T>& u, const Tensor<T>& h, detail::TermSpan<T> terms,
                       const Tensor<std::int32_t>* ids, const Tensor<T>* bias, Tensor<T>& y,
                       Activation activation = Activation::none) {
  constexpr const char* kOp = "multi_lora_expand";
  detail::require_equal_dims(kOp, "u", u, 0, "h", h, 0);
  if (bias) detail::require_equal_dims(kOp, "bias", *bias, 0, "u", u, 1);
  const auto rows = detail::checked_ids(kOp, ids, "u", u);
  const auto all = detail::checked_terms<T>(
      kOp, terms, {detail::TermLimits::kAny, u.matrix().cols, h.matrix().cols});
  y.resize(u.shape(), u.device());
  detail::dispatch<T>(kOp, u.device(), cpu::multi_lora_expand<T>,
                      &detail::Backend::multi_lora_expand, u.matrix(), h.matrix(), all, rows,
                      detail::optional_vector(bias), y.matrix(), activation);
}

/// du = dy ∘ (1 + Σ_base (g - 1)): dy, where no term has a gain. du may be dy.
template <class T>
void multi_lora_backward_output(const Tensor<T>& dy, detail::TermSpan<T> terms,
                                const Tensor<std::int32_t>* ids, Tensor<T>& du) {
  constexpr const char* kOp = "multi_lora_backward_output";
  const auto rows = detail::checked_ids(kOp, ids, "dy", dy);
  const auto all = detail::checked_terms<T>(
      kOp, terms, {detail::TermLimits::kAny, dy.matrix().cols, detail::TermLimits::kAny});
  du.resize(dy.shape(), dy.device());
  detail::dispatch<T>(kOp, dy.device(), cpu::multi_lora_backward_output<T>,
                      &detail::Backend::multi_lora_backward_output, dy.matrix(), all, rows,
                      du.matrix());
}

/// dh = s (g ∘ dy) B for each term in its columns, 0 in the rows to which it does not apply.
template <class T>
void multi_lora_backward_shrink(const Tensor<T>& dy, detail::TermSpan<T> terms,
                                const Tensor<std::int32_t>* ids, Tensor<T>& dh) {
  constexpr const char* kOp = "multi_lora_backward_shrink";
  const auto rows = detail::checked_ids(kOp, ids, "dy", dy);
  const auto all = detail::prepare_low_rank<T>(
      kOp, terms, {detail::TermLimits::kAny, dy.matrix().cols, 0}, dy, dh);
  detail::dispatch<T>(kOp, dy.device(), cpu::multi_lora_backward_shrink<T>,
                      &detail::Backend::multi_lora_backward_shrink, dy.matrix(), all, rows,
                      dh.matrix());
}

/// dx += Σ dh A on top of the du W that it holds, then through the ReLU that gave `relu_output`
/// (B, I) unless that is null.
template <class T>
void multi_lora_backward_input(const Tensor<T>& dh, detail::TermSpan<T> terms,
                               const Tensor<std::int32_t>* ids, const Tensor<T>* relu_output,
                               Tensor<T>& dx) {
  constexpr const char* kOp = "multi_lora_backward_input";
  detail::require_equal_dims(kOp, "dh", dh, 0, "dx", dx, 0);
  if (relu_output) detail::require_same_shape(kOp, "relu_output", *relu_output, "dx", dx);
  const auto rows = detail::checked_ids(kOp, ids, "dx", dx);
  const auto all = detail::checked_terms<T>(
      kOp, terms, {dx.matrix().cols, detail::TermLimits::kAny, dh.matrix().cols});
  detail::dispatch<T>(kOp, dx.device(), cpu::multi_lora_backward_input<T>,
                      &detail::Backend::multi_lora_backward_input, dh.matrix(), all, rows,
                      detail::optional_matrix(relu_output), dx.matrix());
}

/// dA = dhᵀ x and dB = (g ∘ dy)ᵀ h over the rows to which the term applies, or added to what is
/// there; da or db may be null.
template <class T>
void multi_lora_backward_weights(const Tensor<T>& dy, const Tensor<T>& x, const Tensor<T>& h,
                                 const Tensor<T>& dh,
                                 const std::type_identity_t<detail::AdapterTerm<T>>& term,
                                 const Tensor<std::int32_t>* ids, Tensor<T>* da, Tensor<T>* db,
                                 bool accumulate = false) {
  constexpr const char* kOp = "multi_lora_backward_weights";
  detail::require_equal_dims(kOp, "dy", dy, 0, "x", x, 0);
  detail::require_equal_dims(kOp, "h", h, 0, "x", x, 0);
  detail::require_same_shape(kOp, "dh", dh, "h", h);
  const auto rows = detail::checked_ids(kOp, ids, "x", x);
  detail::check_term(kOp, detail::facts_of(term, 0),
                     {x.matrix().cols, dy.matrix().cols, h.matrix().cols});
  const auto a_gradient = detail::prepare_term_gradient(kOp, "da", da, term.a, x, accumulate);
  const auto b_gradient = detail::prepare_term_gradient(kOp, "db", db, term.b, x, accumulate);
  detail::dispatch<T>(kOp, x.device(), cpu::multi_lora_backward_weights<T>,
                      &detail::Backend::multi_lora_backward_weights,
                      detail::columns_of(dy.matrix(), detail::outputs_of<T>(term)), x.matrix(),
                      h.matrix(), dh.matrix(), term, rows, a_gradient, b_gradient, accumulate);
}

/// dg = Σ_rows dy ∘ (u + Σ h Bᵀ) over the rows and the terms of adapter `id`, of which exactly one
/// has gain_on_base, or added to what is there. They must all reach the same outputs, which are
/// dg's; where an adapter has several slices, `terms` are those of one.
template <class T>
void multi_lora_backward_gain(const Tensor<T>& dy, const Tensor<T>& u, const Tensor<T>& h,
                              detail::TermSpan<T> terms, const Tensor<std::int32_t>* ids,
                              std::int32_t id, Tensor<T>& dgain, bool accumulate = false) {
  constexpr const char* kOp = "multi_lora_backward_gain";
  detail::require_same_shape(kOp, "dy", dy, "u", u);
  detail::require_equal_dims(kOp, "h", h, 0, "u", u, 0);
  const auto rows = detail::checked_ids(kOp, ids, "u", u);
  const auto all = detail::checked_terms<T>(
      kOp, terms, {detail::TermLimits::kAny, u.matrix().cols, h.matrix().cols});
  const detail::OutputRange own = detail::outputs_of_adapter(kOp, all, id);
  if (accumulate) {
    detail::require_one_an_output(kOp, "dgain", dgain, own, "u", u);
  } else {
    dgain.resize({own.size}, u.device());
  }
  detail::dispatch<T>(kOp, u.device(), cpu::multi_lora_backward_gain<T>,
                      &detail::Backend::multi_lora_backward_gain,
                      detail::columns_of(dy.matrix(), own), detail::columns_of(u.matrix(), own),
                      h.matrix(), all, rows, id, dgain.vector(), accumulate);
}

/// y += bias (S,) in the S outputs given, or all where they are null; in the rows that have the id,
/// or in all where there are no ids.
template <class T>
void multi_lora_add_bias(const Tensor<T>& bias, const Tensor<std::int32_t>* ids, std::int32_t id,
                         Tensor<T>& y, const detail::OutputRange* outputs = nullptr) {
  constexpr const char* kOp = "multi_lora_add_bias";
  const auto own = detail::checked_outputs(kOp, outputs, y.matrix().cols);
  detail::require_one_an_output(kOp, "bias", bias, own, "y", y);
  const auto rows = detail::checked_ids(kOp, ids, "y", y);
  detail::dispatch<T>(kOp, y.device(), cpu::multi_lora_add_bias<T>,
                      &detail::Backend::multi_lora_add_bias, bias.vector(), rows, id,
                      detail::columns_of(y.matrix(), own));
}

/// db (S,) = Σ dy over the rows that have the id, or all, or added to what is there; of the S
/// outputs given, or all.
template <class T>
void multi_lora_backward_bias(const Tensor<T>& dy, const Tensor<std::int32_t>* ids, std::int32_t id,
                              Tensor<T>& db, bool accumulate = false,
                              const detail::OutputRange* outputs = nullptr) {
  constexpr const char* kOp = "multi_lora_backward_bias";
  const auto own = detail::checked_outputs(kOp, outputs, dy.matrix().cols);
  const auto rows = detail::checked_ids(kOp, ids, "dy", dy);
  if (accumulate) {
    detail::require_one_an_output(kOp, "db", db, own, "dy", dy);
  } else {
    db.resize({own.size}, dy.device());
  }
  detail::dispatch<T>(kOp, dy.device(), cpu::multi_lora_backward_bias<T>,
                      &detail::Backend::multi_lora_backward_bias,
                      detail::columns_of(dy.matrix(), own), rows, id, db.vector(), accumulate);
}

}  // namespace lora::inline v0::ops
