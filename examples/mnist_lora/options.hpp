// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// What the command line asks for. An empty path means: not asked for.
struct Options {
  Settings settings;
  int seeds = 0;
  bool download = false;
  bool data_only = false;
  bool quiet = false;
  std::string save, load, images, report, json;
};

/// Reads the command line. Returns the exit status when the program should end here: after --help,
/// or after a wrong flag, which has been explained on stderr.
std::optional<int> parse_options(int argc, char** argv, Options& options);

}  // namespace mnist_lora
