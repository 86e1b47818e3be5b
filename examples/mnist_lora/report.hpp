// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/pictures.hpp"
#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// One HTML page that needs nothing else: charts, pictures, settings and counts.
std::string report_html(const StudyResult& result, const std::vector<Picture>& pictures);

}  // namespace mnist_lora
