// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/parameter.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// Throws ValueError on settings that no adapter can have.
inline void check_lora_config(const LoRAConfig& config) {
  if (!(config.lora_dropout >= 0 && config.lora_dropout < 1)) {
    throw ValueError("LoRAConfig: lora_dropout is " + std::to_string(config.lora_dropout) +
                     ", expected at least 0 and below 1");
  }
  if (!std::isfinite(config.lora_alpha)) {
    throw ValueError("LoRAConfig: lora_alpha is " + std::to_string(config.lora_alpha) +
                     ", expected a finite number");
  }
  if (config.lora_bias && config.use_dora) {
    throw ValueError("LoRAConfig: lora_bias and use_dora cannot be had together, as in PEFT");
  }
  if (config.use_dora && !config.init_lora_weights.product_is_zero) {
    throw ValueError("LoRAConfig: use_dora needs an adapter whose product starts at zero");
  }
}

template <class To, class From>
Tensor<To> converted(const Tensor<From>& x) {
  Tensor<To> to;
  to.resize(x.shape());
  for (index_t i = 0; i < x.numel(); ++i) to[i] = static_cast<To>(x.data()[i]);
  return to;
}

/// The initial A and B that LoRAInit::compute gives for a layer's weight, on the CPU.
template <class T>
LoRAInitialValues<T> computed_values(Parameter<T>& weight, const LoRAConfig& config,
                                     Generator& generator) {
  LoRAInitInput input{
      converted<double>(weight.value.to(Device::cpu)), {}, config.r, config.scale(), generator};
  if (!weight.grad.empty()) {
    input.gradient = converted<double>(weight.grad.dense().to(Device::cpu));
  }
  const auto [a, b] = config.init_lora_weights.compute(config.init_lora_weights, input);
  return {converted<T>(a), converted<T>(b)};
}

/// ‖W_o‖₂ of every row.
template <class T>
Tensor<T> row_norms(const Tensor<T>& w) {
  Tensor<T> norms({w.dim(0)});
  for (index_t o = 0; o < w.dim(0); ++o) {
    double square = 0;
    for (index_t k = 0; k < w.dim(1); ++k) square += double{w(o, k)} * double{w(o, k)};
    norms[o] = static_cast<T>(std::sqrt(square));
  }
  return norms;
}

/// An adapter of every kind. Throws ValueError as make_plain_adapter does, on settings that
/// contradict each other, and on what the initial values need and do not find.
template <class T>
std::unique_ptr<LoRAAdapter<T>> make_lora_adapter(Linear<T>& base, const LoRAConfig& config,
                                                  Generator& generator, std::string name) {
  check_lora_config(config);
  auto adapter = make_plain_adapter(base, config, generator, std::move(name));
  const Device device = base.weight.value.device();
  if (config.init_lora_weights.kind == LoRAInit::computed) {
    const LoRAInitialValues<T> values = computed_values(base.weight, config, generator);
    adapter->lora_A.value = values.a.to(device);
    adapter->lora_B.value = values.b.to(device);
  }
  if (!config.init_lora_weights.product_is_zero) {
    adapter->initial_A = adapter->lora_A.value;
    adapter->initial_B = adapter->lora_B.value;
  }
  if (config.lora_bias) adapter->lora_B_bias.value = Tensor<T>({base.out_features()}, device);
  if (config.use_dora) {
    adapter->magnitude.value = row_norms(base.weight.value.to(Device::cpu)).to(device);
  }
  if (config.bias != LoRABias::none && base.has_bias()) adapter->bias.value = base.bias.value;
  if (config.lora_dropout > 0) set_dropout(*adapter, config, generator);
  return adapter;
}

}  // namespace lora::inline v0::detail
