// SPDX-License-Identifier: MIT
#include "lora_adapter/command.hpp"

#include <CLI/CLI.hpp>

#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/threads.hpp>

namespace lora_adapter {

void add_common_options(CLI::App& command, CommonOptions& options) {
  options.threads = lora::get_num_threads();
  command.add_option("--json", options.json, "write the result as JSON; -: to stdout, alone")
      ->type_name("FILE");
  command.add_flag("--quiet", options.quiet, "print the result alone");
  command.add_option("--threads", options.threads, "CPU threads; no result depends on it")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void add_output_options(CLI::App& command, std::string& output, bool& force) {
  command.add_option("-o,--output", output, "where to write")->required()->type_name("PATH");
  command.add_flag("--force", force, "write over what is there");
}

void require_absent(const std::vector<std::string>& files, bool force) {
  for (const std::string& file : files) {
    if (!force && lora::file_exists(file)) {
      throw lora::FileError(file + ": is there already; --force writes over it");
    }
  }
}

}  // namespace lora_adapter
