// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>
#include <vector>

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
  std::string sweep_key;  ///< empty: no sweep
  std::vector<std::string> sweep_values;
};

/// Reads the command line. Returns the exit status when the program should end here: after --help,
/// or after a wrong flag, which has been explained on stderr.
std::optional<int> parse_options(int argc, char** argv, Options& options);

/// The settings of every run that is asked for, but for the seed: those of the command line, or
/// with each value of the sweep in its turn.
std::vector<Settings> variants(const Options& options);

/// `settings` with the flag `--key=value`, one of those that concern the adapters or their
/// training. Throws lora::ValueError where there is no such flag, or it cannot have that value.
Settings with_value(Settings settings, const std::string& key, const std::string& value);

}  // namespace mnist_lora
