// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json.hpp>

#include "attention_lora/result.hpp"

namespace attention_lora {

/// Everything a run was asked for and found, losses in full.
nlohmann::ordered_json to_json(const StudyResult& result);

/// What --save keeps beside the weights: what says what their numbers mean.
nlohmann::ordered_json saved_settings(const Settings& settings);

}  // namespace attention_lora
