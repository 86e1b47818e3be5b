// SPDX-License-Identifier: MIT
#pragma once
#include <lora/io/file.hpp>
#include <lora/io/peft_config.hpp>
// Stand-ins until the branch with PEFT's folders is merged; deleted then.
namespace lora::inline v0 {
inline PeftConfig read_peft_config(const std::string& path) {
  const InputFile file(path);
  std::string text(file.size(), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return parse_peft_config(text, path);
}
inline LoRAConfig to_lora_config(const PeftConfig& config) {
  LoRAConfig result;
  result.r = config.r;
  result.lora_alpha = config.lora_alpha;
  result.use_rslora = config.use_rslora;
  for (const auto& [key, r] : config.rank_pattern) result.rank_pattern.emplace_back(key, r);
  for (const auto& [key, a] : config.alpha_pattern) result.alpha_pattern.emplace_back(key, a);
  return result;
}
}  // namespace lora::inline v0
