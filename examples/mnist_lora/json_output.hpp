// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json.hpp>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// Everything a run was asked for and found, losses and errors in full.
nlohmann::ordered_json to_json(const StudyResult& result);

/// The adapter's settings as --save keeps them beside the weights.
nlohmann::ordered_json adapter_settings(const Settings& settings);

}  // namespace mnist_lora
