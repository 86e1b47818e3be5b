// SPDX-License-Identifier: MIT
#include "attention_lora/texts.hpp"

#include <unordered_set>

#include <lora/error.hpp>

#include "support/output.hpp"

namespace attention_lora {

Text make_text(const std::string& name, lora::detail::FunctionRef<std::string()> next_piece) {
  constexpr std::size_t kTrain = 400'000, kHeldOut = 40'000;
  Text text{name, {}, {}};
  std::unordered_set<std::string> learned;
  while (text.train.size() < kTrain) {
    const std::string piece = next_piece();
    text.train += piece;
    learned.insert(piece);
  }
  while (text.held_out.size() < kHeldOut) {
    const std::string piece = next_piece();
    if (!learned.contains(piece)) text.held_out += piece;
  }
  return text;
}

std::vector<float> encode(std::string_view text) {
  std::vector<float> codes;
  codes.reserve(text.size());
  for (const char c : text) {
    const std::size_t code = kCharacters.find(c);
    if (code == kCharacters.npos) {
      throw lora::ValueError(std::string("encode: the texts have no character \"") + c + "\"");
    }
    codes.push_back(static_cast<float>(code));
  }
  return codes;
}

void write_text(const Text& text, const std::filesystem::path& folder) {
  example_support::write_file(folder / (text.name + "_train.txt"), text.train);
  example_support::write_file(folder / (text.name + "_held_out.txt"), text.held_out);
}

}  // namespace attention_lora
