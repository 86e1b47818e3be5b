// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include <lora/error.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/nn/lora_layer.hpp>
#include <lora/nn/module.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// A layer of another kind than Linear that low-rank adapters can change: adapt() finds it by this,
/// where target_modules names it.
template <class T>
class Adaptable : public Module<T> {
 public:
  /// This layer, which `self` owns, as one that has adapters: none yet.
  virtual std::shared_ptr<LoRALayer<T>> make_adapted(std::shared_ptr<Module<T>> self) const = 0;

  /// An adapter for this layer. Throws ValueError on settings that are not for its kind.
  virtual std::unique_ptr<LoRAAdapter<T>> make_adapter(const LoRAConfig& config,
                                                       Generator& generator,
                                                       const std::string& name) const = 0;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// What adapters of layers other than Linear cannot have.
inline void require_low_rank_alone(const std::string& layer, const LoRAConfig& config) {
  const char* const what = config.use_dora                 ? "use_dora"
                           : config.lora_bias              ? "lora_bias"
                           : config.bias != LoRABias::none ? "bias"
                           : config.init_lora_weights.kind == LoRAInit::computed
                               ? "such initial values"
                               : nullptr;
  if (what) {
    throw ValueError("LoRAConfig: " + layer + " cannot have " + what + ": only Linear can");
  }
}

/// An adapter of parts with the scale of `config`, on the device where the base's weight is.
template <class T>
std::unique_ptr<LoRAAdapter<T>> make_adapter_of(const LoRAConfig& config, const std::string& name,
                                                const Tensor<T>& a, const Tensor<T>& b,
                                                Device device) {
  auto adapter = std::make_unique<LoRAAdapter<T>>();
  adapter->name = name;
  adapter->lora_alpha = config.lora_alpha;
  adapter->scale = config.scale();
  adapter->lora_A.value = a.to(device);
  adapter->lora_B.value = b.to(device);
  return adapter;
}

}  // namespace lora::inline v0::detail
