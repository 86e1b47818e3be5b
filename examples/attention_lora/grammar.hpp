// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace attention_lora {

/// Random choices that depend on the seed alone, on every machine.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}

  /// One of 0 to n - 1.
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }

 private:
  std::mt19937_64 engine_;  // standard distributions differ between libraries, its numbers do not
};

/// Makes text from rules. A rule is its alternatives, "fox|heron|the {colour} crow", and in one
///     {colour}    is what the rule of that name gives;
///     {a:animal}  is that too, and is kept as a: unlike everything that is kept already;
///     {a}         is what is kept as a;
///     {3..40}     is a whole number from 3 to 40.
class Grammar {
 public:
  using Kept = std::map<std::string, std::string, std::less<>>;

  Grammar(std::initializer_list<std::pair<std::string_view, std::string_view>> rules);

  /// What the rule gives. Throws lora::ValueError where a name is neither a rule nor kept.
  std::string expand(std::string_view rule, Kept& kept, Dice& dice) const;

 private:
  std::string fill(std::string_view slot, Kept& kept, Dice& dice) const;

  std::map<std::string_view, std::vector<std::string_view>> rules_;
};

}  // namespace attention_lora
