// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// The shape of every layer and the number of parameters; with the adapters' share once there is
/// one.
std::string layer_table(const StudyResult& result, bool adapted);

/// Accuracy with its interval, and the errors of each digit.
std::string evaluation_text(const Evaluation& evaluation);

/// Errors digit by digit, before and after, with the sums over target and other digits.
std::string comparison_table(const StudyResult& result);

/// Mean ± standard deviation over several runs, beside PyTorch's figures for the same protocol.
std::string seeds_table(const std::vector<StudyResult>& results);

}  // namespace mnist_lora
