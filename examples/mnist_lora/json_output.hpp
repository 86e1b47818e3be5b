// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json.hpp>

#include "mnist_lora/result.hpp"
#include "mnist_lora/sweep.hpp"

namespace mnist_lora {

/// Everything a run was asked for and found, losses and errors in full.
nlohmann::ordered_json to_json(const StudyResult& result);

/// What a sweep found: for each value means and standard deviations, and every run, but the losses
/// of pretraining.
nlohmann::ordered_json to_json(const Sweep& sweep);

/// The adapter's settings as --save keeps them beside the weights: what says what its numbers mean,
/// and what it was trained on.
nlohmann::ordered_json adapter_settings(const Settings& settings);

}  // namespace mnist_lora
