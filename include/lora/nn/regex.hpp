// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

#include <lora/detail/path_regex.hpp>
#include <lora/nn/module_pattern.hpp>

namespace lora::inline v0 {

/// The layers whose whole path matches a regular expression of Python's `re`, as in PEFT:
/// lora::regex("blocks\\.[0-9]+\\.(query|value)"). Throws ValueError on an expression that is none,
/// and on what is no regular language, such as back-references.
inline ModulePattern regex(const std::string& expression) {
  const detail::PathRegex checked(expression);
  return {expression, [](const std::string& text, std::string_view path) {
            return detail::PathRegex(text).matches(path);
          }};
}

}  // namespace lora::inline v0
