// SPDX-License-Identifier: MIT
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include <lora/io/safetensors_model.hpp>
#include <lora/threads.hpp>

#include "lora_adapter/adapter_report.hpp"
#include "lora_adapter/command.hpp"
#include "support/output.hpp"

namespace lora_adapter {

namespace {

struct InfoCommand {
  CommonOptions common;
  std::string adapter, base, prefix;
};

void run(const InfoCommand& command) {
  lora::set_num_threads(command.common.threads);
  if (command.common.json != "-") example_support::require_writable({}, {command.common.json});
  require_adapter_folder(command.adapter);
  std::optional<lora::SafetensorsModel> base;
  if (!command.base.empty()) base.emplace(command.base);
  const AdapterReport result =
      inspect_adapter(command.adapter, base ? &*base : nullptr, command.prefix);
  report(command.common, to_text(result), to_json(result));
}

}  // namespace

void add_info(CLI::App& app) {
  const auto command = std::make_shared<InfoCommand>();
  CLI::App& info = *app.add_subcommand(
      "info", "Shows an adapter's layers, how large their updates are, and what looks wrong");
  info.add_option("adapter", command->adapter, "a folder of PEFT's")
      ->required()
      ->type_name("ADAPTER");
  info.add_option("--base", command->base,
                  "the model it is for, to compare with: a safetensors file, an index or a folder")
      ->type_name("MODEL");
  info.add_option("--prefix", command->prefix,
                  "stands before the adapter's names in the base: \"model.\", say")
      ->type_name("TEXT");
  add_common_options(info, command->common);
  info.callback([command] { run(*command); });
}

}  // namespace lora_adapter
