// SPDX-License-Identifier: MIT
#include "lora_adapter/command.hpp"

#include <CLI/CLI.hpp>

#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/threads.hpp>

#include "support/output.hpp"

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

void require_adapter_folder(const std::string& path) {
  if (!lora::is_folder(path)) {
    const char* const found = lora::file_exists(path) ? "is a file" : "is not there";
    throw lora::FileError(path + ": " + found +
                          "; expected a folder with adapter_config.json and "
                          "adapter_model.safetensors");
  }
  if (!lora::file_exists(lora::path_in(path, "adapter_config.json"))) {
    throw lora::FileError(path + ": there is no adapter_config.json in this folder");
  }
  if (!lora::file_exists(lora::path_in(path, "adapter_model.safetensors"))) {
    const bool has_pickle = lora::file_exists(lora::path_in(path, "adapter_model.bin"));
    throw lora::FileError(path + ": there is no adapter_model.safetensors in this folder" +
                          (has_pickle ? "; adapter_model.bin must be saved again by PEFT, with "
                                        "safe_serialization=True"
                                      : ""));
  }
}

void report(const CommonOptions& options, const std::string& text, const std::string& json) {
  if (options.json != "-") example_support::print(text);
  if (options.json == "-") example_support::print(json + "\n");
  if (!options.json.empty() && options.json != "-") {
    example_support::write_file(options.json, json + "\n");
  }
}

}  // namespace lora_adapter
