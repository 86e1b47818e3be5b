// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <string>

#include <lora/nn/module.hpp>
#include <lora/shape.hpp>

namespace lora::inline v0 {

struct ParameterCount {
  index_t trainable = 0;
  index_t all = 0;
};

template <class T>
ParameterCount count_parameters(Module<T>& module) {
  ParameterCount count;
  for (const Parameter<T>* parameter : module.parameters()) {
    count.all += parameter->value.numel();
    if (parameter->trainable) count.trainable += parameter->value.numel();
  }
  return count;
}

/// "8394" as "8,394"
inline std::string with_thousands_separators(index_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// PEFT's line: "trainable params: 8,394 || all params: 4,259,204 || trainable%: 0.1971"
inline std::string to_string(const ParameterCount& count) {
  const double percent =
      count.all ? 100.0 * static_cast<double>(count.trainable) / static_cast<double>(count.all) : 0;
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", percent);
  return "trainable params: " + with_thousands_separators(count.trainable) +
         " || all params: " + with_thousands_separators(count.all) + " || trainable%: " + text;
}

}  // namespace lora::inline v0
