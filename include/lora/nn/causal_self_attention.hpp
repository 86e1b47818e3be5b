// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/causal_attention.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

struct CausalSelfAttentionOptions {
  bool bias = true;
  bool fused_qkv = false;  ///< one projection "qkv_proj" in place of three
};

/// y = out_proj(causal_attention(q_proj(x), k_proj(x), v_proj(x)))            x, y: (B, T, D)
///
/// The projections are children, each a Linear at first: "q_proj", "k_proj", "v_proj" (D, D) or,
/// fused, "qkv_proj" (3 D, D), whose rows are those of the three; and "out_proj" (D, D). Adapters
/// can be had for "qkv_proj.q", "qkv_proj.k" and "qkv_proj.v" alone.
template <class T>
class CausalSelfAttention final : public Module<T> {
 public:
  /// The projections start as Linear does, in the children's order. Throws ValueError unless
  /// num_heads divides embed_dim and both are at least 1.
  CausalSelfAttention(index_t embed_dim, index_t num_heads, Generator& generator,
                      CausalSelfAttentionOptions options = {})
      : embed_dim_(embed_dim), num_heads_(num_heads), options_(options) {
    if (embed_dim < 1 || num_heads < 1 || embed_dim % num_heads != 0) {
      throw ValueError("CausalSelfAttention: embed_dim is " + std::to_string(embed_dim) +
                       ", num_heads is " + std::to_string(num_heads) +
                       ": both must be at least 1, and num_heads must divide embed_dim");
    }
    const auto add = [&](const char* name, index_t out) {
      children_.push_back(
          {name, std::make_shared<Linear<T>>(embed_dim, out, generator, options.bias)});
    };
    if (options.fused_qkv) {
      add("qkv_proj", 3 * embed_dim);
      dynamic_cast<Linear<T>&>(*children_.back().module).split_outputs({"q", "k", "v"});
    } else {
      for (const char* name : {"q_proj", "k_proj", "v_proj"}) add(name, embed_dim);
    }
    add("out_proj", embed_dim);
  }

  index_t embed_dim() const noexcept { return embed_dim_; }
  index_t num_heads() const noexcept { return num_heads_; }

  std::span<Child<T>> children() override { return children_; }

  std::shared_ptr<Module<T>> clone() const override {
    auto copy = std::make_shared<CausalSelfAttention>(*this);
    for (Child<T>& child : copy->children_) child.module = child.module->clone();
    return copy;
  }

  std::string to_string() const override {
    return "CausalSelfAttention(" + std::to_string(embed_dim_) +
           ", num_heads=" + std::to_string(num_heads_) + (options_.bias ? "" : ", bias=false") +
           (options_.fused_qkv ? ", fused_qkv=true)" : ")");
  }

 private:
  // Of Saved::intermediates.
  enum Kept : std::size_t { kHeads, kLogSumExp, kHeadsGradient, kInputGradient, kKept };

  // The projections in front of attention: all children but the last.
  std::size_t projections() const { return children_.size() - 1; }

  // Saved::children are those of the children and, behind them, one for each projection, which
  // holds nothing but where its output lies: that is for its module to choose.
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    if (x.shape().rank() != 3 || x.cols() != embed_dim_) {
      throw ShapeError(to_string() + ": x is " + describe(x) + ", expected (B, T, " +
                       std::to_string(embed_dim_) + ")");
    }
    saved.children.resize(children_.size() + projections());
    saved.intermediates.resize(kKept);
    for (std::size_t i = 0; i < projections(); ++i) {
      saved.children[children_.size() + i].input =
          &children_[i].module->forward(x, saved.children[i]);
    }
    Tensor<T>& heads = saved.intermediates[kHeads];
    Tensor<T>& log_sum_exp = saved.intermediates[kLogSumExp];
    if (options_.fused_qkv) {
      ops::causal_attention(projected(saved, 0), num_heads_, heads, log_sum_exp);
    } else {
      ops::causal_attention(projected(saved, 0), projected(saved, 1), projected(saved, 2),
                            num_heads_, heads, log_sum_exp);
    }
    return children_.back().module->forward(heads, saved.children[projections()]);
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    bool is_wanted = dx != nullptr;
    for (std::size_t i = 0; i < projections(); ++i) {
      is_wanted = is_wanted || children_[i].module->has_trainable_parameters();
    }
    Tensor<T>* const dheads = is_wanted ? &saved.intermediates[kHeadsGradient] : nullptr;
    children_.back().module->backward(dy, saved.children[projections()], dheads);
    if (!is_wanted) return;

    const Tensor<T>& heads = saved.intermediates[kHeads];
    const Tensor<T>& log_sum_exp = saved.intermediates[kLogSumExp];
    const auto gradient = [&](std::size_t i) -> Tensor<T>& {
      return saved.children[i].output_gradient;
    };
    if (options_.fused_qkv) {
      ops::causal_attention_backward(*dheads, projected(saved, 0), heads, log_sum_exp, num_heads_,
                                     gradient(0));
    } else {
      ops::causal_attention_backward(*dheads, projected(saved, 0), projected(saved, 1),
                                     projected(saved, 2), heads, log_sum_exp, num_heads_,
                                     gradient(0), gradient(1), gradient(2));
    }
    for (std::size_t i = 0; i < projections(); ++i) {
      Tensor<T>* const share = i == 0 || !dx ? dx : &saved.intermediates[kInputGradient];
      children_[i].module->backward(gradient(i), saved.children[i], share);
      if (share != dx) ops::add(*share, *dx);
    }
  }

  const Tensor<T>& projected(const Saved<T>& saved, std::size_t i) const {
    return *saved.children[children_.size() + i].input;
  }

  index_t embed_dim_;
  index_t num_heads_;
  CausalSelfAttentionOptions options_;
  std::vector<Child<T>> children_;
};

}  // namespace lora::inline v0
