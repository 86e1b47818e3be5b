// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lora_adapter {

/// What every command takes.
struct CommonOptions {
  std::string json;  ///< where to write the result as JSON; "-": to stdout, alone
  bool quiet = false;
  int threads = 1;
};

void add_common_options(CLI::App& command, CommonOptions& options);

/// Adds -o/--output and --force.
void add_output_options(CLI::App& command, std::string& output, bool& force);

/// Throws lora::FileError when one of the files is there already, unless `force`.
void require_absent(const std::vector<std::string>& files, bool force);

/// Throws lora::FileError, and says what is missing, unless the folder has PEFT's two files.
void require_adapter_folder(const std::string& path);

/// Prints a command's result, and writes it as JSON where that is asked for.
void report(const CommonOptions& options, const std::string& text, const std::string& json);

// Each adds one command to the program, which runs when the arguments name it.
void add_info(CLI::App& app);
void add_merge(CLI::App& app);
void add_extract(CLI::App& app);
void add_combine(CLI::App& app);
void add_resize(CLI::App& app);
void add_convert(CLI::App& app);

}  // namespace lora_adapter
