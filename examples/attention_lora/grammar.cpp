// SPDX-License-Identifier: MIT
#include "attention_lora/grammar.hpp"

#include <algorithm>
#include <charconv>

#include <lora/error.hpp>

namespace attention_lora {

namespace {

std::size_t number(std::string_view digits) {
  std::size_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

}  // namespace

Grammar::Grammar(std::initializer_list<std::pair<std::string_view, std::string_view>> rules) {
  for (auto [name, alternatives] : rules) {
    auto& texts = rules_[name];
    for (std::size_t bar = 0; bar != alternatives.npos; alternatives.remove_prefix(bar + 1)) {
      bar = alternatives.find('|');
      texts.push_back(alternatives.substr(0, bar));
      if (bar == alternatives.npos) break;
    }
  }
}

std::string Grammar::expand(std::string_view rule, Kept& kept, Dice& dice) const {
  const auto found = rules_.find(rule);
  if (found == rules_.end()) {
    throw lora::ValueError("grammar: \"" + std::string(rule) + "\" is neither a rule nor kept");
  }
  std::string_view text = found->second[dice.below(found->second.size())];
  std::string result;
  for (;;) {
    const std::size_t open = text.find('{');
    result += text.substr(0, open);
    if (open == text.npos) return result;
    const std::size_t close = text.find('}', open);
    result += fill(text.substr(open + 1, close - open - 1), kept, dice);
    text.remove_prefix(close + 1);
  }
}

std::string Grammar::fill(std::string_view slot, Kept& kept, Dice& dice) const {
  if (const auto found = kept.find(slot); found != kept.end()) return found->second;
  if (const std::size_t dots = slot.find(".."); dots != slot.npos) {
    const std::size_t low = number(slot.substr(0, dots)), high = number(slot.substr(dots + 2));
    return std::to_string(low + dice.below(high - low + 1));
  }
  const std::size_t colon = slot.find(':');
  if (colon == slot.npos) return expand(slot, kept, dice);
  const auto is_kept = [&](const std::string& text) {
    return std::any_of(kept.begin(), kept.end(), [&](const auto& k) { return k.second == text; });
  };
  std::string text;
  do text = expand(slot.substr(colon + 1), kept, dice);
  while (is_kept(text));
  return kept[std::string(slot.substr(0, colon))] = text;
}

}  // namespace attention_lora
