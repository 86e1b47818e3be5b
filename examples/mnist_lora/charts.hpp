// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "mnist_lora/result.hpp"
#include "mnist_lora/sweep.hpp"

namespace mnist_lora {

/// Bars of the errors of each digit, pretrained and with LoRA on, as an SVG picture, light or dark
/// as the reader has it.
std::string error_chart(const StudyResult& result);

/// For each value of a sweep a bar of the errors on the target digits and one of those on the
/// others, over several seeds with the standard deviation; dashed lines are the pretrained
/// network's.
std::string sweep_chart(const Sweep& sweep);

/// The tallest thing that sweep_chart() has to show.
double largest_errors(const Sweep& sweep);

}  // namespace mnist_lora
