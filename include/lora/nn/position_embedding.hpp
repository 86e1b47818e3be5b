// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/position_embedding.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// y = x + P[0 … T)                    x, y: (…, T, D), P: (L, D) with T <= L
///
/// A learned vector for each position of a sequence, as in GPT-2. Throws ValueError on a sequence
/// that is longer than L.
template <class T>
class PositionEmbedding final : public Module<T> {
 public:
  /// P starts normal with mean 0 and standard deviation 0.02, as GPT-2's, not 1, as an Embedding:
  /// it is added to what it must not drown. Throws ValueError on a size below 1.
  PositionEmbedding(index_t max_length, index_t dim, Generator& generator) {
    if (max_length < 1 || dim < 1) {
      throw ValueError("PositionEmbedding: max_length is " + std::to_string(max_length) +
                       ", dim is " + std::to_string(dim) + ", both must be at least 1");
    }
    weight.value = Tensor<T>({max_length, dim});
    generator.normal(weight.value.span(), 0.0, 0.02);
  }

  index_t max_length() const noexcept { return weight.value.dim(0); }
  index_t dim() const noexcept { return weight.value.dim(1); }

  std::string to_string() const override {
    return "PositionEmbedding(" + std::to_string(max_length()) + ", " + std::to_string(dim()) + ")";
  }

  std::shared_ptr<Module<T>> clone() const override {
    return std::make_shared<PositionEmbedding>(*this);
  }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
  }

  Parameter<T> weight;  ///< (L, D)

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::position_embedding(x, weight.value, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>&, Tensor<T>* dx) override {
    if (dx) *dx = dy;
    if (!weight.trainable) return;
    weight.grad.accumulate_with([&](Tensor<T>& dense, bool add) {
      if (!add) dense.resize(weight.value.shape(), weight.value.device());
      ops::position_embedding_backward(dy, dense, add);
    });
  }
};

}  // namespace lora::inline v0
