// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <lora/ops/causal_attention.hpp>

#include "support/tensors.hpp"

namespace lora_test {

/// Causal attention's operands; in a message, seed and shape tell all of them.
template <class T>
struct Attention {
  Tensor<T> q, k, v, dy;
  index_t heads;

  Attention(index_t batch, index_t length, index_t heads_, index_t d, std::uint64_t seed)
      : heads(heads_) {
    const Shape shape{batch, length, heads * d};
    q = random_tensor<T>(shape, seed);
    k = random_tensor<T>(shape, seed + 1);
    v = random_tensor<T>(shape, seed + 2);
    dy = random_tensor<T>(shape, seed + 3);
  }
};

template <class T>
struct AttentionResults {
  Tensor<T> y, log_sum_exp, dq, dk, dv;

  AttentionResults() = default;

  /// By the ops.
  explicit AttentionResults(const Attention<T>& a) {
    lora::ops::causal_attention(a.q, a.k, a.v, a.heads, y, log_sum_exp);
    lora::ops::causal_attention_backward(a.dy, a.q, a.k, a.v, y, log_sum_exp, a.heads, dq, dk, dv);
  }
};

/// x's element of sequence b, token t, head h, column c.
template <class T>
auto& head_element(Tensor<T>& x, index_t heads, index_t b, index_t t, index_t h, index_t c) {
  const index_t d = x.dim(2) / heads;
  return x.data()[(b * x.dim(1) + t) * x.dim(2) + h * d + c];
}
template <class T>
double head_value(const Tensor<T>& x, index_t heads, index_t b, index_t t, index_t h, index_t c) {
  const index_t d = x.dim(2) / heads;
  return static_cast<double>(x.data()[(b * x.dim(1) + t) * x.dim(2) + h * d + c]);
}

/// The formulas, one element after the other, in double, with the whole matrix of probabilities.
template <class T>
AttentionResults<double> reference_attention(const Attention<T>& a) {
  const index_t length = a.q.dim(1), heads = a.heads, d = a.q.dim(2) / heads;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  AttentionResults<double> r;
  r.y = r.dq = r.dk = r.dv = Tensor<double>(a.q.shape());
  r.log_sum_exp = Tensor<double>({a.q.dim(0), heads, length});
  for (index_t b = 0; b < a.q.dim(0); ++b) {
    for (index_t h = 0; h < heads; ++h) {
      const auto row_dot = [&](const Tensor<T>& x, index_t i, const Tensor<T>& y, index_t j) {
        double sum = 0;
        for (index_t c = 0; c < d; ++c) {
          sum += head_value(x, heads, b, i, h, c) * head_value(y, heads, b, j, h, c);
        }
        return sum;
      };
      Tensor<double> p({length, length});
      for (index_t i = 0; i < length; ++i) {
        double largest = -std::numeric_limits<double>::infinity(), sum = 0;
        for (index_t j = 0; j <= i; ++j) {
          p(i, j) = scale * row_dot(a.q, i, a.k, j);
          largest = std::fmax(largest, p(i, j));
        }
        for (index_t j = 0; j <= i; ++j) sum += std::exp(p(i, j) - largest);
        const double log_sum = largest + std::log(sum);
        r.log_sum_exp[(b * heads + h) * length + i] = log_sum;
        double mean = 0;
        for (index_t j = 0; j <= i; ++j) {
          p(i, j) = std::exp(p(i, j) - log_sum);
          mean += p(i, j) * row_dot(a.dy, i, a.v, j);
        }
        for (index_t j = 0; j <= i; ++j) {
          const double ds = scale * p(i, j) * (row_dot(a.dy, i, a.v, j) - mean);
          for (index_t c = 0; c < d; ++c) {
            head_element(r.y, heads, b, i, h, c) += p(i, j) * head_value(a.v, heads, b, j, h, c);
            head_element(r.dv, heads, b, j, h, c) += p(i, j) * head_value(a.dy, heads, b, i, h, c);
            head_element(r.dq, heads, b, i, h, c) += ds * head_value(a.k, heads, b, j, h, c);
            head_element(r.dk, heads, b, j, h, c) += ds * head_value(a.q, heads, b, i, h, c);
          }
        }
      }
    }
  }
  return r;
}

/// The largest error of all outputs.
template <class T>
double max_error(const AttentionResults<T>& x, const AttentionResults<double>& y) {
  double worst = 0;
  for (const double error : {max_error(x.y, y.y), max_error(x.log_sum_exp, y.log_sum_exp),
                             max_error(x.dq, y.dq), max_error(x.dk, y.dk), max_error(x.dv, y.dv)}) {
    worst = std::fmax(worst, error);
  }
  return worst;
}

template <class T>
bool same_bits(const AttentionResults<T>& x, const AttentionResults<T>& y) {
  return same_bits(x.y, y.y) && same_bits(x.log_sum_exp, y.log_sum_exp) && same_bits(x.dq, y.dq) &&
         same_bits(x.dk, y.dk) && same_bits(x.dv, y.dv);
}

/// q, k and v, or their gradients, side by side: (B, T, 3 D).
template <class T>
Tensor<T> side_by_side(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
  Tensor<T> all(q.shape().with_cols(3 * q.cols()));
  const auto matrix = all.matrix();
  for (index_t i = 0; i < q.rows(); ++i) {
    for (index_t c = 0; c < q.cols(); ++c) {
      matrix(i, c) = q.matrix()(i, c);
      matrix(i, q.cols() + c) = k.matrix()(i, c);
      matrix(i, 2 * q.cols() + c) = v.matrix()(i, c);
    }
  }
  return all;
}

}  // namespace lora_test
