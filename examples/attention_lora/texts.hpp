// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <lora/detail/function_ref.hpp>

namespace attention_lora {

/// Every character of both texts; a character's code is its place here.
inline constexpr std::string_view kCharacters =
    "\n \",-.0123456789:;?ABDEFHILMNOSTWabcdefghijklmnopqrstuvwxyz";

struct Text {
  std::string name;
  std::string train, held_out;  ///< whole pieces, one a line, and no piece is in both
};

/// What the model learns first: short fables, one a line.
Text fables(std::uint64_t seed = 0);

/// What it is adapted to: the log of a sailing ship, a day a line.
Text logbook(std::uint64_t seed = 0);

/// Pieces from `next_piece`, each ending its line, until there are 400,000 characters to learn from
/// and then 40,000 others. A held-out piece that could be learned by heart is passed over.
Text make_text(const std::string& name, lora::detail::FunctionRef<std::string()> next_piece);

/// The codes of a text. Throws lora::ValueError at any other character.
std::vector<float> encode(std::string_view text);

/// The character of a code.
inline char decode(float code) { return kCharacters[static_cast<std::size_t>(code)]; }

/// Writes NAME_train.txt and NAME_held_out.txt. Throws lora::FileError.
void write_text(const Text& text, const std::filesystem::path& folder);

}  // namespace attention_lora
