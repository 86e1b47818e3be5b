// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "attention_lora/result.hpp"

namespace attention_lora {

/// The loss on both texts over the steps of a training: the fables in one colour, the logbook in
/// another; dashed those of `other`, where there is one.
std::string curve_chart(const Phase& phase, const Phase* other = nullptr);

/// One HTML page that needs nothing else: curves, table, samples, settings and counts.
std::string report_html(const StudyResult& result);

}  // namespace attention_lora
