// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>

#include "attention_lora/result.hpp"

namespace attention_lora {

/// What the command line asks for. An empty path means: not asked for.
struct Options {
  Settings settings;
  bool quiet = false;
  std::string save, load, report, json, write_texts;
};

/// Reads the command line. Returns the exit status when the program should end here: after --help,
/// or after a wrong flag, which has been explained on stderr.
std::optional<int> parse_options(int argc, char** argv, Options& options);

}  // namespace attention_lora
