// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <string>

namespace lora::inline v0::detail {

/// A number in six digits at most, as layers show their options: "1e-05", "0.1".
inline std::string number_text(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

}  // namespace lora::inline v0::detail
