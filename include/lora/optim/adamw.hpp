// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <lora/optim/adam.hpp>

namespace lora::inline v0 {

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;

  operator AdamOptions() const { return {lr, beta1, beta2, eps, weight_decay, true}; }
};

/// Adam whose weight decay is decoupled from the gradient, as torch.optim.AdamW, after Loshchilov
/// and Hutter, "Decoupled Weight Decay Regularization", 2017 (arXiv 1711.05101): a parameter that a
/// step updates loses lr weight_decay of itself too. Whatever takes an Adam takes an AdamW.
///
///     AdamW<float> adam(net.parameters(), {.lr = 1e-4});
///
/// Biases and norms are often spared the decay:
///
///     AdamW adam(std::vector<ParameterGroup<float>>{
///                    {weights}, {.parameters = biases, .weight_decay_ratio = 0}},
///                {.lr = 1e-4});
template <class T>
class AdamW final : public Adam<T> {
 public:
  explicit AdamW(std::vector<Parameter<T>*> parameters, AdamWOptions options = {})
      : Adam<T>(std::move(parameters), options) {}

  explicit AdamW(std::span<const ParameterGroup<T>> groups, AdamWOptions options = {})
      : Adam<T>(groups, options) {}
};

template <class T>
AdamW(std::vector<ParameterGroup<T>>, AdamWOptions = {}) -> AdamW<T>;

}  // namespace lora::inline v0
