// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/cpu/dora.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/detail/output_range.hpp>
#include <lora/tensor.hpp>

// What a DoRA layer needs beside LoRA's ops, after Liu et al., "DoRA: Weight-Decomposed Low-Rank
// Adaptation", 2024 (arXiv 2402.09353). The weight is m ∘ (W + s B A) / n, row by row:
//
// y = g ∘ (x Wᵀ + h Bᵀ) + b,  h = s x Aᵀ,  g = m / n,  n_o = ‖W_o + s B_o A‖
// dm = dg / n with dg = Σ_rows dy ∘ (x Wᵀ + h Bᵀ); n is a constant for the gradient (section 4.3 of
// the paper; so does PEFT), and LoRA's backward pass takes g ∘ dy in place of dy.
//
// x: (B, I), W: (O, I), A: (R, I), B: (O, R), m, n, g: (O,)
//
// The norms cost no pass over W of their own:
//   n_o² = ‖W_o‖² + 2 s Σ_r B_or (A Wᵀ)_ro + s² B_o (A Aᵀ) B_oᵀ
// where A's rows are to W as a few more rows of x, and the squares are summed in the same visit.
//
// Rounding. ‖W_o‖² and A Wᵀ are sums of T; all else is double. They are off by some 1e-7 of
// M = ‖W_o‖² + 2 s Σ_r |B_or| ‖W_o‖ ‖A_r‖ at most, a few times that for rows of many thousands, and
// n by half of M / n² times as much. Up to M = 16 n² that is about 1e-6. Beyond, where the update
// takes away most of W_o, n_o is worked out from W_o + s B_o A itself, in double. With A's rows in
// general directions M / n² is at most 1 + √R, so this is rare. The last term cancels as well where
// A's rows are nearly parallel: it may be off by 1e-13 of (s Σ_r |B_or| ‖A_r‖)², a millionth of
// which therefore counts to M; so does 1e-30, below which squares of floats vanish.
//
// A row whose norm is 0 has no direction: its gain is 0, and so is the gradient of its magnitude.
// (PEFT divides by 0.) W + s B A has nothing in that row to be scaled, so y is the bias there.
//
// Outputs are resized to fit, except gradients that are accumulated into. Errors: ShapeError,
// DeviceError, and ValueError where said.

namespace lora::inline v0::ops {

/// In one visit of W: u = x Wᵀ (B, O), with the bits of linear; wa = A Wᵀ (R, O), where `a` may be
/// the rows of several adapters one above the other, or none; squares (O,) = Σ_k W(o, k)².
template <class T>
void dora_linear(const Tensor<T>& x, const Tensor<T>& a, const Tensor<T>& w, Tensor<T>& u,
                 Tensor<T>& wa, Tensor<T>& squares) {
  constexpr const char* kOp = "dora_linear";
  detail::require_equal_dims(kOp, "x", x, 1, "w", w, 1);
  detail::require_equal_dims(kOp, "lora_A", a, 1, "w", w, 1);
  u.resize(x.shape().with_cols(w.dim(0)), x.device());
  wa.resize({a.dim(0), w.dim(0)}, x.device());
  squares.resize({w.dim(0)}, x.device());
  detail::dispatch<T>(kOp, x.device(), cpu::dora_linear<T>, &detail::Backend::dora_linear,
                      x.matrix(), a.matrix(), w.matrix(), u.matrix(), wa.matrix(),
                      squares.vector());
}

/// norms (O,) = n and gains (O,) = m / n of one adapter, whose A has given the rows [first,
/// first + R) of `wa`; `scale` is rounded to T, as for lora_merge. With `outputs`, an adapter of
/// these rows of W alone: its B, m, n and g have no others. ValueError where `wa` has no such rows.
template <class T>
void dora_gains(const Tensor<T>& wa, index_t first, const Tensor<T>& squares, const Tensor<T>& a,
                const Tensor<T>& b, const Tensor<T>& w, const Tensor<T>& magnitude, double scale,
                Tensor<T>& norms, Tensor<T>& gains, const detail::OutputRange* outputs = nullptr) {
  constexpr const char* kOp = "dora_gains";
  const auto own = detail::checked_outputs(kOp, outputs, w.dim(0));
  detail::require_equal_dims(kOp, "lora_A", a, 1, "w", w, 1);
  detail::require_equal_dims(kOp, "lora_A", a, 0, "lora_B", b, 1);
  detail::require_equal_dims(kOp, "wa", wa, 1, "w", w, 0);
  detail::require_equal_dims(kOp, "squares", squares, 0, "w", w, 0);
  detail::require_equal_dims(kOp, "magnitude", magnitude, 0, "lora_B", b, 0);
  detail::require_one_an_output(kOp, "magnitude", magnitude, own, "w", w);
  MatrixView<const T> rows = wa.matrix();
  if (first < 0 || first > rows.rows - a.dim(0)) {
    throw ValueError(std::string(kOp) + ": " + std::to_string(a.dim(0)) + " rows from row " +
                     std::to_string(first) + " on, but wa is " + describe(wa));
  }
  rows = detail::columns_of<const T>({rows.row(first), a.dim(0), rows.cols, rows.stride}, own);
  const VectorView<const T> own_squares{squares.data() + own.first, own.size};
  const MatrixView<const T> own_w{w.matrix().row(own.first), own.size, w.dim(1), w.dim(1)};
  norms.resize({own.size}, w.device());
  gains.resize({own.size}, w.device());
  detail::dispatch<T>(kOp, w.device(), cpu::dora_gains<T>, &detail::Backend::dora_gains, rows,
                      own_squares, a.matrix(), b.matrix(), own_w, magnitude.vector(),
                      norms.vector(), gains.vector(), scale);
}

/// dm (O,) = dg / n, or dm += dg / n, for dg (O,), the gradient of the gains.
template <class T>
void dora_backward_magnitude(const Tensor<T>& dgain, const Tensor<T>& norms, Tensor<T>& dm,
                             bool accumulate = false) {
  constexpr const char* kOp = "dora_backward_magnitude";
  detail::require_same_shape(kOp, "dgain", dgain, "norms", norms);
  if (accumulate) {
    detail::require_same_shape(kOp, "dm", dm, "dgain", dgain);
  } else {
    dm.resize(dgain.shape(), dgain.device());
  }
  detail::dispatch<T>(kOp, dgain.device(), cpu::dora_backward_magnitude<T>,
                      &detail::Backend::dora_backward_magnitude, dgain.vector(), norms.vector(),
                      dm.vector(), accumulate);
}

/// W_o *= g_o: after lora_merge, the last step of merging. Rounded to T once more.
template <class T>
void dora_scale_rows(const Tensor<T>& gains, Tensor<T>& w) {
  constexpr const char* kOp = "dora_scale_rows";
  detail::require_equal_dims(kOp, "gains", gains, 0, "w", w, 0);
  detail::dispatch<T>(kOp, w.device(), cpu::dora_scale_rows<T>, &detail::Backend::dora_scale_rows,
                      gains.vector(), w.matrix());
}

}  // namespace lora::inline v0::ops
