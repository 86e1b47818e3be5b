// SPDX-License-Identifier: MIT
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/extract_adapter.hpp>

#include "lora_adapter/adapter_output.hpp"
#include "lora_adapter/command.hpp"
#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;

struct ExtractCommand {
  OutputOptions output;
  std::string base, tuned;
  lora::ExtractOptions options;
  std::vector<std::string> embeddings;
  bool strict = false;
};

std::string text_of(const ExtractCommand& command, const lora::ExtractedAdapter& found) {
  std::string text;
  const int width = width_of_paths(found.layers);
  for (const lora::ExtractedLayer& layer : found.layers) {
    text += format("  %-*s  rank %4lld  %8.4f %% of the change's energy\n", width,
                   layer.path.c_str(), static_cast<long long>(layer.rank), 100 * layer.captured);
  }
  if (!found.not_captured.empty()) {
    text += format("%zu tensors differ that no adapter can have:\n", found.not_captured.size());
    for (const std::string& name : found.not_captured) text += "  " + name + "\n";
  }
  return text + format("%zu layers in ", found.layers.size()) + command.output.path + "\n";
}

nlohmann::ordered_json json_of(const ExtractCommand& command, const lora::ExtractedAdapter& found) {
  auto layers = nlohmann::ordered_json::array();
  for (const lora::ExtractedLayer& layer : found.layers) {
    layers.push_back({{"path", layer.path},
                      {"rank", layer.rank},
                      {"energy", layer.energy},
                      {"energy_captured", layer.captured}});
  }
  return {{"base", command.base},
          {"tuned", command.tuned},
          {"output", command.output.path},
          {"layers", layers},
          {"not_captured", found.not_captured}};
}

void run(ExtractCommand& command) {
  prepare(command.output, files_of_adapter(command.output.path));
  auto& embeddings = command.options.embeddings;
  embeddings.insert(embeddings.end(), command.embeddings.begin(), command.embeddings.end());
  std::size_t count = 0;
  const lora::ExtractedAdapter found = lora::extract_adapter(
      lora::SafetensorsModel(command.base), lora::SafetensorsModel(command.tuned), command.options,
      [&](const lora::ExtractedLayer& layer) {
        ++count;
        if (command.output.common.quiet) return;
        std::fprintf(stderr, "layer %zu that differs: %s\n", count, layer.path.c_str());
      });
  if (command.strict && !found.not_captured.empty()) {
    throw lora::ValueError(
        command.tuned +
        format(": %zu tensors differ that no adapter can have, ", found.not_captured.size()) +
        found.not_captured[0] + " is the first; without --strict they are left");
  }
  if (found.layers.empty()) {
    throw lora::ValueError(command.tuned +
                           ": no weight of a Linear, an Embedding or a convolution "
                           "differs from " +
                           command.base);
  }
  write_adapter(command.output, found.adapter);
  report(command.output.common, text_of(command, found), json_of(command, found).dump(2));
}

}  // namespace

void add_extract(CLI::App& app) {
  const auto command = std::make_shared<ExtractCommand>();
  CLI::App& extract = *app.add_subcommand(
      "extract", "Makes an adapter of the difference of two models: what TUNED has beyond BASE");
  const auto add_model = [&](const char* name, std::string& path, const char* type) {
    extract.add_option(name, path, "a safetensors file, an index of shards, or a folder")
        ->required()
        ->type_name(type);
  };
  add_model("base", command->base, "BASE");
  add_model("tuned", command->tuned, "TUNED");
  extract.add_option("--rank", command->options.rank, "the largest rank of a layer (16)")
      ->check(CLI::Range(1, lora::PeftConfig::kMaxRank))
      ->type_name("R");
  extract
      .add_option("--tolerance", command->options.tolerance,
                  "leave out singular values of at most X times a layer's largest (1e-6)")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("X");
  extract
      .add_option("--embeddings", command->embeddings,
                  "modules that are embeddings, by the last part of their path, beside "
                  "embed_tokens, wte and the like")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  extract
      .add_option("--fan-in-fan-out", command->options.fan_in_fan_out,
                  "modules whose weight is stored as (in, out), by the last part of their path: "
                  "c_attn,c_proj,c_fc of GPT-2")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  extract.add_flag("--strict", command->strict,
                   "fail where something differs that no adapter can have, a bias or a norm");
  add_adapter_output_options(extract, command->output);
  extract.callback([command] { run(*command); });
}

}  // namespace lora_adapter
