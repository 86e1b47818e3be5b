// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/result.hpp"
#include "mnist_lora/sweep.hpp"

namespace mnist_lora {

/// Bars of the errors of each digit, pretrained and with LoRA on, as an SVG picture, light or dark
/// as the reader has it.
std::string error_chart(const StudyResult& result);

/// The loss over the batches as an SVG picture; long runs are averaged to at most 200 points.
std::string loss_chart(const std::vector<double>& losses);

/// For each value of a sweep a bar of the errors on the target digits and one of those on the
/// others, over several seeds with the standard deviation; dashed lines are the pretrained
/// network's.
std::string sweep_chart(const Sweep& sweep);

/// The tallest thing that sweep_chart() has to show.
double largest_errors(const Sweep& sweep);

/// 1, 2 or 5 times a power of ten, so that about five of them make `largest`.
double tick_step(double largest);

}  // namespace mnist_lora
