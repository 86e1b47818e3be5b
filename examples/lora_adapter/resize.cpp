// SPDX-License-Identifier: MIT
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <lora/io/resize_adapter_file.hpp>

#include "lora_adapter/adapter_output.hpp"
#include "lora_adapter/command.hpp"
#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;

struct ResizeCommand {
  OutputOptions output;
  std::string adapter;
  int rank = 0;
};

void run(const ResizeCommand& command) {
  prepare(command.output, files_of_adapter(command.output.path));
  require_adapter_folder(command.adapter);
  auto adapter = lora::read_adapter_file<float>(command.adapter);
  const auto layers = lora::resize_adapter_file(adapter, command.rank);
  write_adapter(command.output, adapter);
  const std::string text =
      table_of(layers) + format("%zu layers in ", layers.size()) + command.output.path + "\n";
  const nlohmann::ordered_json json = {
      {"adapter", command.adapter}, {"output", command.output.path}, {"layers", json_of(layers)}};
  report(command.output.common, text, json.dump(2));
}

}  // namespace

void add_resize(CLI::App& app) {
  const auto command = std::make_shared<ResizeCommand>();
  CLI::App& resize =
      *app.add_subcommand("resize", "Gives an adapter a smaller rank: the nearest of that rank");
  resize.add_option("adapter", command->adapter, "a folder of PEFT's")
      ->required()
      ->type_name("ADAPTER");
  resize.add_option("--rank", command->rank, "the new rank of layers that have a larger one")
      ->required()
      ->check(CLI::Range(1, lora::PeftConfig::kMaxRank))
      ->type_name("R");
  add_adapter_output_options(resize, command->output);
  resize.callback([command] { run(*command); });
}

}  // namespace lora_adapter
