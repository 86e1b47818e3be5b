// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "attention_lora/result.hpp"

namespace attention_lora {

/// What both models are: sizes, counts, and where the adapters are.
std::string model_text(const StudyResult& result);

/// Losses on both texts of the base model, with LoRA on and off and after full fine-tuning, with
/// what each training cost; the header first.
std::vector<std::vector<std::string>> comparison_cells(const StudyResult& result);
std::string comparison_table(const StudyResult& result);

/// A sample with its lines moved in.
std::string sample_text(const std::string& title, const std::string& sample);

}  // namespace attention_lora
