// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace lora::inline v0 {

/// Which layers of a model are meant, by their dotted paths.
///
/// A text names the layer of that path and every layer whose path ends with a dot and the text, as
/// in PEFT: "linear1", "attention.query". lora::all_linear means every Linear, lora::regex("…") of
/// <lora/nn/regex.hpp> those whose whole path matches a regular expression.
class ModulePattern {
 public:
  using Match = bool (*)(const std::string& text, std::string_view path);

  ModulePattern(const char* text) : ModulePattern(std::string(text)) {}
  ModulePattern(std::string text, Match match = is_suffix)
      : text_(std::move(text)), match_(match) {}

  static ModulePattern every_linear() { return {"all-linear", is_anything}; }

  bool matches(std::string_view path) const { return match_(text_, path); }
  const std::string& text() const noexcept { return text_; }

  /// Whether it is all_linear, which means no layer of another kind.
  bool means_all_linear() const noexcept { return match_ == is_anything; }

 private:
  static bool is_anything(const std::string&, std::string_view) { return true; }

  static bool is_suffix(const std::string& text, std::string_view path) {
    if (!path.ends_with(text)) return false;
    return path.size() == text.size() || path[path.size() - text.size() - 1] == '.';
  }

  std::string text_;
  Match match_;
};

/// Every Linear: PEFT's "all-linear".
inline const ModulePattern all_linear = ModulePattern::every_linear();

}  // namespace lora::inline v0
