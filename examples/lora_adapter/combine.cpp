// SPDX-License-Identifier: MIT
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/combine_adapter_files.hpp>

#include "lora_adapter/adapter_output.hpp"
#include "lora_adapter/command.hpp"
#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;

struct CombineCommand {
  OutputOptions output;
  std::vector<std::string> adapters;
  std::vector<double> weights;
  int rank = 0;  // 0: the sum of the ranks
};

void run(CombineCommand& command) {
  if (command.weights.empty()) command.weights.assign(command.adapters.size(), 1.0);
  if (command.weights.size() != command.adapters.size()) {
    throw lora::ValueError(format("--weights: %zu weights for %zu adapters", command.weights.size(),
                                  command.adapters.size()));
  }
  prepare(command.output, files_of_adapter(command.output.path));
  std::vector<lora::WeightedAdapterFile<float>> terms;
  for (std::size_t i = 0; i < command.adapters.size(); ++i) {
    const std::string& path = command.adapters[i];
    require_adapter_folder(path);
    terms.push_back({path, lora::read_adapter_file<float>(path), command.weights[i]});
  }
  const auto combined = lora::combine_adapter_files(
      terms, command.rank > 0 ? std::optional<lora::index_t>(command.rank) : std::nullopt);
  write_adapter(command.output, combined.adapter);
  const std::string text = table_of(combined.layers) +
                           format("%zu layers in ", combined.layers.size()) + command.output.path +
                           "\n";
  const nlohmann::ordered_json json = {{"adapters", command.adapters},
                                       {"weights", command.weights},
                                       {"output", command.output.path},
                                       {"layers", json_of(combined.layers)}};
  report(command.output.common, text, json.dump(2));
}

}  // namespace

void add_combine(CLI::App& app) {
  const auto command = std::make_shared<CombineCommand>();
  CLI::App& combine =
      *app.add_subcommand("combine", "Makes one adapter of several: their weighted sum, exactly");
  combine.add_option("adapters", command->adapters, "folders of PEFT's")
      ->required()
      ->type_name("ADAPTER");
  combine.add_option("--weights", command->weights, "one number for each adapter (1,1,...)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  combine.add_option("--rank", command->rank, "cut layers of a larger rank (the sum of the ranks)")
      ->check(CLI::Range(1, lora::PeftConfig::kMaxRank))
      ->type_name("R");
  add_adapter_output_options(combine, command->output);
  combine.callback([command] { run(*command); });
}

}  // namespace lora_adapter
