// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
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

/// The slice's rows of W, or all of them, on the CPU.
template <class T>
Tensor<T> rows_of(const Tensor<T>& w, const OutputSlice* slice) {
  Tensor<T> all = w.to(Device::cpu);
  if (!slice) return all;
  Tensor<T> rows({slice->size, w.dim(1)});
  std::copy_n(all.data() + slice->first * w.dim(1), rows.numel(), rows.data());
  return rows;
}

/// The initial A and B that LoRAInit::compute gives for a layer's weight, or for the slice's rows
/// of it; on the CPU.
template <class T>
LoRAInitialValues<T> computed_values(Parameter<T>& weight, const LoRAConfig& config,
                                     Generator& generator, const OutputSlice* slice) {
  LoRAInitInput input{
      converted<double>(rows_of(weight.value, slice)), {}, config.r, config.scale(), generator};
  if (!weight.grad.empty()) {
    input.gradient = converted<double>(rows_of(weight.grad.dense(), slice));
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

/// An adapter of every kind, of a slice of the layer unless it is null. Throws ValueError as
/// make_plain_adapter does, on settings that contradict each other, on a slice with a bias of its
/// own, and on what the initial values need and do not find.
template <class T>
std::unique_ptr<LoRAAdapter<T>> make_lora_adapter(Linear<T>& base, const LoRAConfig& config,
                                                  Generator& generator, std::string name,
                                                  const OutputSlice* slice = nullptr) {
  check_lora_config(config);
  if (slice && config.bias != LoRABias::none) {
    throw ValueError("LoRAConfig: bias trains a layer's whole bias, slice \"" + slice->name +
                     "\" of " + base.to_string() + " has none of its own");
  }
  auto adapter = make_plain_adapter(base, config, generator, std::move(name), slice);
  const Device device = base.weight.value.device();
  if (config.init_lora_weights.kind == LoRAInit::computed) {
    const LoRAInitialValues<T> values = computed_values(base.weight, config, generator, slice);
    adapter->lora_A.value = values.a.to(device);
    adapter->lora_B.value = values.b.to(device);
  }
  if (!config.init_lora_weights.product_is_zero) {
    adapter->initial_A = adapter->lora_A.value;
    adapter->initial_B = adapter->lora_B.value;
  }
  if (config.lora_bias) {
    adapter->lora_B_bias.value = Tensor<T>({adapter->lora_B.value.dim(0)}, device);
  }
  if (config.use_dora) {
    adapter->magnitude.value = row_norms(rows_of(base.weight.value, slice)).to(device);
  }
  if (config.bias != LoRABias::none && base.has_bias()) adapter->bias.value = base.bias.value;
  if (config.lora_dropout > 0) set_dropout(*adapter, config, generator);
  return adapter;
}

}  // namespace lora::inline v0::detail
