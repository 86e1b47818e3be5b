// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/cpu/causal_attention.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

// Each token looks at itself and at those before it, after Vaswani et al., "Attention Is All You
// Need", 2017 (arXiv 1706.03762). D = heads d; per sequence and head, with columns of their own,
//
// s = q kᵀ / √d,  p = softmax(s) over j <= t,  y = p v      q, k, v, y: (B, T, D), s, p: (T, T)
// log_sum_exp_t = log Σ_{j<=t} exp(s_tj)                    log_sum_exp: (B, heads, T)
//
// dv = pᵀ dy,  ds = p ∘ (dy vᵀ - dy · y),  dq = ds k / √d,  dk = dsᵀ q / √d
//
// Neither s nor p is ever stored: a tile of them is made, used and forgotten, and made again from
// log_sum_exp in the backward pass, after Dao et al., "FlashAttention", 2022 (arXiv 2205.14135). So
// memory grows with T, not with T².
//
// The fused form takes q, k and v side by side, as one layer projects them: qkv: (B, T, 3 D).
//
// Outputs are resized to fit; none may be an input. Errors: ShapeError and DeviceError. On a GPU a
// head has at most 128 columns.

namespace lora::inline v0::detail {

inline constexpr index_t kMostHeadColumnsOnCuda = 128;

/// Checks that the last size of x (B, T, parts D) is parts heads d, and returns D.
inline index_t require_heads(const char* op, const char* name, const TensorFacts& x, index_t heads,
                             index_t parts) {
  const auto fail = [&](const std::string& rule) {
    throw ShapeError(std::string(op) + ": " + name + " is " + describe(x.shape, x.device) +
                     ", heads is " + std::to_string(heads) + ": " + rule);
  };
  if (x.shape.rank() != 3) fail(std::string(name) + " must have three sizes");
  const index_t size = x.shape.cols();
  if (heads < 1 || size < 1 || size % (parts * heads) != 0) {
    fail("size 2 of " + std::string(name) + " must be a multiple of " +
         (parts == 1 ? "heads" : "3 heads"));
  }
  const index_t columns = size / (parts * heads);
  if (x.device == Device::cuda && columns > kMostHeadColumnsOnCuda) {
    fail("a head has " + std::to_string(columns) + " columns, the kernels take at most " +
         std::to_string(kMostHeadColumnsOnCuda));
  }
  return size / parts;
}

/// Part `i` of qkv: its columns [i D, (i + 1) D).
template <class T>
MatrixView<T> part_of(const MatrixView<T>& qkv, index_t i) {
  T* const data = qkv.rows == 0 ? qkv.data : qkv.data + i * (qkv.cols / 3);
  return {data, qkv.rows, qkv.cols / 3, qkv.stride};
}

template <class T>
void require_log_sum_exp(const char* op, const Tensor<T>& log_sum_exp, const char* name,
                         const Tensor<T>& x, index_t heads) {
  require_same_device(op, "log_sum_exp", log_sum_exp, name, x);
  if (log_sum_exp.shape() != Shape{x.dim(0), heads, x.dim(1)}) {
    throw_mismatch<ShapeError>(
        op, "log_sum_exp", log_sum_exp, name, x,
        "expected log_sum_exp of a forward pass with " + std::to_string(heads) + " heads");
  }
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y of each head, and the log_sum_exp that the backward pass needs.
template <class T>
void causal_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, index_t heads,
                      Tensor<T>& y, Tensor<T>& log_sum_exp) {
  constexpr const char* kOp = "causal_attention";
  detail::require_heads(kOp, "q", q, heads, 1);
  detail::require_same_shape(kOp, "k", k, "q", q);
  detail::require_same_shape(kOp, "v", v, "q", q);
  y.resize(q.shape(), q.device());
  log_sum_exp.resize({q.dim(0), heads, q.dim(1)}, q.device());
  detail::dispatch<T>(kOp, q.device(), cpu::causal_attention<T>, &detail::Backend::causal_attention,
                      q.matrix(), k.matrix(), v.matrix(), heads, y.matrix(), log_sum_exp.matrix());
}

/// The same for q, k and v side by side.
template <class T>
void causal_attention(const Tensor<T>& qkv, index_t heads, Tensor<T>& y, Tensor<T>& log_sum_exp) {
  constexpr const char* kOp = "causal_attention";
  const index_t size = detail::require_heads(kOp, "qkv", qkv, heads, 3);
  y.resize(qkv.shape().with_cols(size), qkv.device());
  log_sum_exp.resize({qkv.dim(0), heads, qkv.dim(1)}, qkv.device());
  const MatrixView<const T> all = qkv.matrix();
  detail::dispatch<T>(kOp, qkv.device(), cpu::causal_attention<T>,
                      &detail::Backend::causal_attention, detail::part_of(all, 0),
                      detail::part_of(all, 1), detail::part_of(all, 2), heads, y.matrix(),
                      log_sum_exp.matrix());
}

/// The gradients of q, k and v, from what the forward pass was given and gave.
template <class T>
void causal_attention_backward(const Tensor<T>& dy, const Tensor<T>& q, const Tensor<T>& k,
                               const Tensor<T>& v, const Tensor<T>& y, const Tensor<T>& log_sum_exp,
                               index_t heads, Tensor<T>& dq, Tensor<T>& dk, Tensor<T>& dv) {
  constexpr const char* kOp = "causal_attention_backward";
  detail::require_heads(kOp, "q", q, heads, 1);
  detail::require_same_shape(kOp, "k", k, "q", q);
  detail::require_same_shape(kOp, "v", v, "q", q);
  detail::require_same_shape(kOp, "y", y, "q", q);
  detail::require_same_shape(kOp, "dy", dy, "q", q);
  detail::require_log_sum_exp(kOp, log_sum_exp, "q", q, heads);
  dq.resize(q.shape(), q.device());
  dk.resize(q.shape(), q.device());
  dv.resize(q.shape(), q.device());
  detail::dispatch<T>(kOp, q.device(), cpu::causal_attention_backward<T>,
                      &detail::Backend::causal_attention_backward, dy.matrix(), q.matrix(),
                      k.matrix(), v.matrix(), y.matrix(), log_sum_exp.matrix(), heads, dq.matrix(),
                      dk.matrix(), dv.matrix());
}

/// The same for q, k and v, and their gradients, side by side.
template <class T>
void causal_attention_backward(const Tensor<T>& dy, const Tensor<T>& qkv, const Tensor<T>& y,
                               const Tensor<T>& log_sum_exp, index_t heads, Tensor<T>& dqkv) {
  constexpr const char* kOp = "causal_attention_backward";
  const index_t size = detail::require_heads(kOp, "qkv", qkv, heads, 3);
  detail::require_same_device(kOp, "y", y, "qkv", qkv);
  if (y.shape() != qkv.shape().with_cols(size)) {
    detail::throw_mismatch<ShapeError>(kOp, "y", y, "qkv", qkv,
                                       "expected y of a forward pass with this qkv");
  }
  detail::require_same_shape(kOp, "dy", dy, "y", y);
  detail::require_log_sum_exp(kOp, log_sum_exp, "qkv", qkv, heads);
  dqkv.resize(qkv.shape(), qkv.device());
  const MatrixView<const T> all = qkv.matrix();
  const MatrixView<T> gradients = dqkv.matrix();
  detail::dispatch<T>(kOp, qkv.device(), cpu::causal_attention_backward<T>,
                      &detail::Backend::causal_attention_backward, dy.matrix(),
                      detail::part_of(all, 0), detail::part_of(all, 1), detail::part_of(all, 2),
                      y.matrix(), log_sum_exp.matrix(), heads, detail::part_of(gradients, 0),
                      detail::part_of(gradients, 1), detail::part_of(gradients, 2));
}

}  // namespace lora::inline v0::ops
