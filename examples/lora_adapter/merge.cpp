// SPDX-License-Identifier: MIT
#include <sys/resource.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <lora/io/merge_files.hpp>
#include <lora/threads.hpp>

#include "lora_adapter/command.hpp"
#include "support/format.hpp"
#include "support/output.hpp"
#include "support/progress.hpp"

namespace lora_adapter {

namespace {

using example_support::format;

struct MergeCommand {
  CommonOptions common;
  std::string base, adapter, output, prefix;
  bool force = false;
};

std::string adapter_weights(const std::string& folder) {
  return lora::path_in(folder, "adapter_model.safetensors");
}

// The most that the program has had, mapped files among it.
std::int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

// Whether it takes doubles to read an adapter without loss.
bool has_doubles(const std::string& folder) {
  const lora::SafetensorsFile file(adapter_weights(folder));
  for (const auto& entry : file.tensors()) {
    if (entry.second.dtype == "F64") return true;
  }
  return false;
}

void require_free(const MergeCommand& command) {
  const std::vector<std::string> files = lora::merged_files(command.base, command.output);
  for (const std::string& file : files) {
    if (lora::is_same_file(file, adapter_weights(command.adapter))) {
      throw lora::FileError(file + ": is the adapter, which would be lost");
    }
  }
  require_absent(files, command.force);
}

template <class T>
void merge(const MergeCommand& command) {
  const auto adapter = lora::read_adapter_file<T>(command.adapter);
  std::unique_ptr<example_support::ByteProgress> progress;
  const lora::MergeFilesResult result =
      lora::merge_adapter_files(command.base, adapter, command.output, {.prefix = command.prefix},
                                [&](std::uint64_t done, std::uint64_t all) {
                                  if (!progress) {
                                    progress = std::make_unique<example_support::ByteProgress>(
                                        "merging", all, command.common.quiet);
                                  }
                                  progress->update(done);
                                });
  if (progress) progress->finish();
  std::string text = format("%zu tensors changed, %zu replaced, %zu copied:\n", result.changed,
                            result.replaced, result.copied);
  for (const std::string& file : result.files) text += "  " + file + "\n";
  const nlohmann::ordered_json json = {
      {"base", command.base},        {"adapter", command.adapter},
      {"files", result.files},       {"changed", result.changed},
      {"replaced", result.replaced}, {"copied", result.copied},
      {"bytes", result.bytes},       {"threads", lora::get_num_threads()},
      {"peak_bytes", peak_memory()}};
  report(command.common, text, json.dump(2));
}

void run(const MergeCommand& command) {
  lora::set_num_threads(command.common.threads);
  if (command.common.json != "-") example_support::require_writable({}, {command.common.json});
  require_adapter_folder(command.adapter);
  require_free(command);
  has_doubles(command.adapter) ? merge<double>(command) : merge<float>(command);
}

}  // namespace

void add_merge(CLI::App& app) {
  const auto command = std::make_shared<MergeCommand>();
  CLI::App& merge = *app.add_subcommand(
      "merge",
      "Writes a model with an adapter merged into its weights, as PEFT's merge_and_unload");
  merge.add_option("base", command->base, "a safetensors file, an index of shards, or a folder")
      ->required()
      ->type_name("BASE");
  merge.add_option("adapter", command->adapter, "a folder of PEFT's")
      ->required()
      ->type_name("ADAPTER");
  add_output_options(merge, command->output, command->force);
  merge
      .add_option("--prefix", command->prefix,
                  "stands before the adapter's names in the base: \"model.\", say")
      ->type_name("TEXT");
  add_common_options(merge, command->common);
  merge.callback([command] { run(*command); });
}

}  // namespace lora_adapter
