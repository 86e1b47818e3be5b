// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/nn/lora_linear.hpp>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// What --init may be, for a message.
extern const char* const kInitNames;

/// The initialisation of that name. Throws lora::ValueError, with the names there are.
lora::LoRAInit init_of(const std::string& name);

/// The configuration of the adapters. The last layer has ten outputs, so its rank is at most 10,
/// and 5 with lora_ga, which needs twice as many singular vectors.
lora::LoRAConfig lora_config(const Settings& settings);

/// Throws lora::ValueError where such adapters cannot be made of any network: before minutes of
/// pretraining.
void require_possible(const Settings& settings);

/// Whether lora_config() gives the last layer a smaller rank than the others.
bool caps_last_rank(const Settings& settings);

/// What an adapted layer multiplies by, as a formula: "W + scale B A".
std::string adapted_weight_text(const Settings& settings);

/// "rank 1, alpha 1", and whatever is not as in the plain study.
std::string variant_text(const Settings& settings);

/// How it is trained, in the same way: "100 batches, learning rate 0.001".
std::string training_text(const Settings& settings);

/// Whether `layer` multiplies by what its adapter says, worked out here in double: W + s B A, less
/// s B0 A0 where the adapter counts from such initial values, and with DoRA m / ||W + s B A|| times
/// that, row by row. Each element must be this, rounded once.
bool is_adapted_weight(const lora::LoRALinear<float>& layer, double scale);

}  // namespace mnist_lora
