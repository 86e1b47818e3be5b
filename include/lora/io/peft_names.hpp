// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <lora/detail/path_regex.hpp>
#include <lora/io/peft_matcher.hpp>
#include <lora/io/peft_values.hpp>

// How a configuration of PEFT's names some modules and no others.

namespace lora::inline v0::detail {

/// The most frequent value; of equals the smallest. There must be one.
template <class V>
V most_common(const std::vector<V>& values) {
  std::map<V, int> counts;
  for (const V& value : values) ++counts[value];
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::max_element(counts.begin(), counts.end(), fewer)->first;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// A key of rank_pattern or alpha_pattern that means the module of this path and no other: PEFT
/// tries it on the end of a path, and "^" stands for its beginning.
inline std::string exact_pattern_key(const std::string& path) {
  return "^" + detail::regex_escaped(path);
}

/// A target_modules that means the modules of `paths`: their sorted list. PEFT takes an entry of a
/// list for the end of a path, too; where one of `other_modules` would be meant so, it is a regular
/// expression that means `paths` alone.
inline PeftModules exact_target_modules(std::vector<std::string> paths,
                                        const std::vector<std::string>& other_modules) {
  std::sort(paths.begin(), paths.end());
  const std::set<std::string> named(paths.begin(), paths.end());
  const bool is_exact =
      std::all_of(other_modules.begin(), other_modules.end(), [&](const std::string& module) {
        return named.count(module) > 0 || !detail::ends_with_name(paths, module);
      });
  if (is_exact) return paths;
  std::string expression;
  for (const std::string& path : paths) {
    expression += (expression.empty() ? "(" : "|") + detail::regex_escaped(path);
  }
  return expression + ")";
}

}  // namespace lora::inline v0
