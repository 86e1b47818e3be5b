// SPDX-License-Identifier: MIT
#pragma once

#include <regex>
#include <string>
#include <string_view>

#include <lora/error.hpp>
#include <lora/nn/module_pattern.hpp>

// Outside the umbrella: <regex> takes a second to compile.

namespace lora::inline v0 {

/// The layers whose whole path matches an ECMAScript regular expression:
/// lora::regex("blocks\\.[0-9]+\\.(query|value)"). Throws ValueError on an expression that is none.
inline ModulePattern regex(const std::string& expression) {
  try {
    std::regex check(expression);
  } catch (const std::regex_error& error) {
    throw ValueError("regex: \"" + expression + "\" is no regular expression: " + error.what());
  }
  return {expression, [](const std::string& text, std::string_view path) {
            return std::regex_match(path.begin(), path.end(), std::regex(text));
          }};
}

}  // namespace lora::inline v0
