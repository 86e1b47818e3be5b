// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/nn/embedding.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_layer.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/embedding.hpp>
#include <lora/ops/linear.hpp>
#include <lora/ops/multi_lora.hpp>

namespace lora::inline v0 {

/// y = W[index] + Σ s A[:, index]ᵀ Bᵀ       W: (V, D), A: (R, V), B: (D, R), y: (…, D)
///
/// An Embedding with low-rank adapters, of PEFT's shapes: what they add to W is s (B A)ᵀ. As in
/// PEFT, lora_dropout does not reach them: there is no input to drop.
template <class T>
class LoRAEmbedding final : public LoRALayer<T> {
 public:
  /// Without adapters: the base.
  explicit LoRAEmbedding(std::shared_ptr<Embedding<T>> base) : base_(std::move(base)) {
    this->train(base_->training());
  }

  const Embedding<T>& base() const noexcept { return *base_; }
  std::shared_ptr<Module<T>> base_module() const override { return base_; }

  std::string to_string() const override {
    const std::string ranks = this->ranks();
    return "LoRAEmbedding(" + std::to_string(base_->num_embeddings()) + ", " +
           std::to_string(base_->embedding_dim()) + (ranks.empty() ? "" : ", ") + ranks + ")";
  }

 private:
  detail::AdaptedWeight<T> adapted_weight() const override {
    return {base_->weight.value, nullptr, true};
  }

  void require_rows_can_differ() const override {
    throw ValueError(to_string() + ": rows of one batch cannot use different adapters here");
  }

  bool runs_base() const {
    return !this->enabled() || this->update_in_weight() || this->active().empty();
  }

  // Of the i-th active adapter.
  static Tensor<T>& h(Saved<T>& saved, std::size_t i) { return saved.intermediates[2 * i]; }
  static Tensor<T>& dh(Saved<T>& saved, std::size_t i) { return saved.intermediates[2 * i + 1]; }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    Tensor<T>& y = saved.output;
    ops::embedding(x, base_->weight.value, y);
    if (runs_base()) return y;
    saved.intermediates.resize(2 * this->active().size());
    for (std::size_t i = 0; i < this->active().size(); ++i) {
      const LoRAAdapter<T>& adapter = *this->active()[i];
      ops::embedding_columns(x, adapter.lora_A.value, h(saved, i), adapter.scaling());
      const detail::AdapterTerm<T> term[] = {detail::adapter_term<T>(
          adapter.lora_A.value, adapter.lora_B.value, nullptr, false, 0, 0, 1.0)};
      ops::multi_lora_expand<T>(y, h(saved, i), term, nullptr, nullptr, y);
    }
    return y;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    this->require_apart_from_weight();
    if (dx) return base_->backward(dy, saved, dx);  // which says why not
    base_->accumulate_gradients(dy, *saved.input);
    if (runs_base()) return;
    for (std::size_t i = 0; i < this->active().size(); ++i) {
      LoRAAdapter<T>& adapter = *this->active()[i];
      if (adapter.lora_B.trainable) adapter.lora_B.grad.accumulate_outer(dy, h(saved, i));
      if (!adapter.lora_A.trainable) continue;
      ops::linear_backward_input(dy, adapter.lora_B.value, dh(saved, i));
      adapter.lora_A.grad.accumulate_with([&](Tensor<T>& da, bool add) {
        if (!add) da.resize(adapter.lora_A.value.shape(), adapter.lora_A.value.device());
        ops::embedding_columns_backward(dh(saved, i), *saved.input, da, adapter.scaling(), add);
      });
    }
  }

  std::shared_ptr<Embedding<T>> base_;
};

template <class T>
std::shared_ptr<LoRALayer<T>> Embedding<T>::make_adapted(std::shared_ptr<Module<T>> self) const {
  return std::make_shared<LoRAEmbedding<T>>(std::static_pointer_cast<Embedding<T>>(self));
}

/// A zero and B normal, as PEFT's.
template <class T>
std::unique_ptr<LoRAAdapter<T>> Embedding<T>::make_adapter(const LoRAConfig& config,
                                                           Generator& generator,
                                                           const std::string& name) const {
  detail::require_low_rank_alone(this->to_string(), config);
  const index_t rows = num_embeddings(), dim = embedding_dim(), r = config.r;
  if (r < 1 || r > rows || r > dim) {
    detail::throw_no_rank(r, this->to_string(), std::min(rows, dim));
  }
  Tensor<T> b({dim, r});
  generator.normal(b.span(), 0.0, 1.0);
  auto adapter =
      detail::make_adapter_of(config, name, Tensor<T>({r, rows}), b, weight.value.device());
  adapter->of_embedding = true;
  return adapter;
}

}  // namespace lora::inline v0
