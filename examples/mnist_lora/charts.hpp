// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// Bars of the errors of each digit, pretrained and with LoRA on, as an SVG picture, light or dark
/// as the reader has it.
std::string error_chart(const StudyResult& result);

/// The loss over the batches as an SVG picture; long runs are averaged to at most 200 points.
std::string loss_chart(const std::vector<double>& losses);

}  // namespace mnist_lora
