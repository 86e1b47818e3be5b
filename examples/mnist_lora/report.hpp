// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/pictures.hpp"
#include "mnist_lora/result.hpp"
#include "mnist_lora/sweep.hpp"

namespace mnist_lora {

/// One HTML page that needs nothing else: charts, pictures, settings and counts.
std::string report_html(const StudyResult& result, const std::vector<Picture>& pictures);

/// The page of a sweep: its chart, its table and the settings that stayed the same.
std::string report_html(const Sweep& sweep, const Settings& settings);

}  // namespace mnist_lora
