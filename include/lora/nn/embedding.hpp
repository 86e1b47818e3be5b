// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include <lora/error.hpp>
#include <lora/nn/adaptable.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/embedding.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// y = W[index]                        x: indices (…) of rank 1 to 3, W: (V, D), y: (…, D)
///
/// Indices are whole numbers in the model's element type; ops/embedding.hpp says what becomes of
/// others. An index has no gradient, so this stands where nothing learns below.
template <class T>
class Embedding final : public Adaptable<T> {
 public:
  /// W starts normal with mean 0 and standard deviation 1, as that of torch.nn.Embedding; with a
  /// TorchGenerator the numbers are PyTorch's as nearly as TorchGenerator says. Throws ValueError
  /// on a size below 1, and on more rows than T has whole numbers without a gap.
  Embedding(index_t num_embeddings, index_t embedding_dim, Generator& generator) {
    constexpr index_t kMost = index_t{1} << std::numeric_limits<T>::digits;
    if (num_embeddings < 1 || num_embeddings > kMost || embedding_dim < 1) {
      throw ValueError("Embedding: num_embeddings is " + std::to_string(num_embeddings) +
                       ", expected 1 to " + std::to_string(kMost) + ", embedding_dim is " +
                       std::to_string(embedding_dim) + ", expected at least 1");
    }
    weight.value = Tensor<T>({num_embeddings, embedding_dim});
    generator.normal(weight.value.span(), 0.0, 1.0);
  }

  index_t num_embeddings() const noexcept { return weight.value.dim(0); }
  index_t embedding_dim() const noexcept { return weight.value.dim(1); }

  std::string to_string() const override {
    return "Embedding(" + std::to_string(num_embeddings()) + ", " +
           std::to_string(embedding_dim()) + ")";
  }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Embedding>(*this); }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
  }

  std::shared_ptr<LoRALayer<T>> make_adapted(std::shared_ptr<Module<T>> self) const override;
  std::unique_ptr<LoRAAdapter<T>> make_adapter(const LoRAConfig& config, Generator& generator,
                                               const std::string& name) const override;

  /// Adds to the gradient of the weight, if it is trainable.
  void accumulate_gradients(const Tensor<T>& dy, const Tensor<T>& indices) {
    if (!weight.trainable) return;
    weight.grad.accumulate_with([&](Tensor<T>& dense, bool add) {
      if (!add) dense.resize(weight.value.shape(), weight.value.device());
      ops::embedding_backward(dy, indices, dense, add);
    });
  }

  Parameter<T> weight;  ///< (V, D)

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::embedding(x, weight.value, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) {
      throw ValueError(to_string() +
                       ": its input, an index, has no gradient; pass no dx, and let " +
                       "nothing in front of it learn");
    }
    accumulate_gradients(dy, *saved.input);
  }
};

}  // namespace lora::inline v0

#include <lora/nn/lora_embedding.hpp>
