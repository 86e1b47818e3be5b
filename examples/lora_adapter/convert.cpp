// SPDX-License-Identifier: MIT
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/convert_adapter.hpp>
#include <lora/io/kohya_adapter.hpp>
#include <lora/io/mlx_adapter.hpp>

#include "lora_adapter/adapter_output.hpp"
#include "lora_adapter/command.hpp"
#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;
using lora::AdapterFormat;

struct ConvertCommand {
  OutputOptions output;
  std::string input, to = "peft", architecture, base, prefix;
  std::vector<std::string> embeddings;
  lora::GgufHeads heads;
};

const char* name_of(AdapterFormat format) {
  switch (format) {
    case AdapterFormat::peft:
      return "PEFT";
    case AdapterFormat::kohya:
      return "kohya's sd-scripts";
    case AdapterFormat::mlx:
      return "mlx-lm";
  }
  return "";
}

// An option that would be ignored is a mistake.
void require_options_fit(const ConvertCommand& command, AdapterFormat from) {
  const auto require = [&](bool allowed, const char* what) {
    if (!allowed) throw lora::ValueError(std::string(what));
  };
  const bool is_kohya = from == AdapterFormat::kohya, to_gguf = command.to == "gguf";
  require(is_kohya || (command.base.empty() && command.prefix.empty()),
          "--base and --prefix are for adapters of kohya's, whose names have no dots");
  require(from == AdapterFormat::mlx || command.embeddings.empty(),
          "--embeddings is for adapters of mlx-lm");
  require(to_gguf || (command.architecture.empty() && command.heads.heads == 0 &&
                      command.heads.kv_heads == 0),
          "--architecture, --heads and --kv-heads are for --to gguf");
  require(!to_gguf || !command.architecture.empty(),
          "--to gguf needs the base model's --architecture: llama, qwen2, ...");
  require(!to_gguf || command.output.dtype == "f32", "--to gguf writes f32 alone");
}

lora::AdapterFile<float> read(const ConvertCommand& command, AdapterFormat from) {
  if (from == AdapterFormat::kohya) {
    std::optional<lora::FlattenedModules> base;
    if (!command.base.empty()) base.emplace(lora::SafetensorsModel(command.base));
    return lora::read_kohya_adapter<float>(command.input, base ? &*base : nullptr, command.prefix);
  }
  if (from == AdapterFormat::mlx) {
    std::vector<std::string> embeddings = lora::common_embeddings();
    embeddings.insert(embeddings.end(), command.embeddings.begin(), command.embeddings.end());
    return lora::read_mlx_adapter<float>(command.input, embeddings);
  }
  require_adapter_folder(command.input);
  return lora::read_adapter_file<float>(command.input);
}

void run(const ConvertCommand& command) {
  const bool to_gguf = command.to == "gguf";
  prepare(command.output,
          to_gguf ? std::vector{command.output.path} : files_of_adapter(command.output.path));
  const AdapterFormat from = lora::recognize_adapter(command.input);
  require_options_fit(command, from);
  const lora::AdapterFile<float> adapter = read(command, from);
  if (to_gguf) {
    lora::write_gguf_adapter(command.output.path, command.architecture, adapter, command.heads);
  } else {
    write_adapter(command.output, adapter);
  }
  const std::string text = format("%zu layers from %s to %s in ", adapter.layers.size(),
                                  name_of(from), to_gguf ? "GGUF" : "PEFT") +
                           command.output.path + "\n";
  auto layers = nlohmann::ordered_json::array();
  for (const auto& [path, layer] : adapter.layers) {
    layers.push_back({{"path", path}, {"rank", layer.rank()}, {"scale", layer.scale}});
  }
  const nlohmann::ordered_json json = {{"input", command.input},
                                       {"from", name_of(from)},
                                       {"to", to_gguf ? "GGUF" : "PEFT"},
                                       {"output", command.output.path},
                                       {"layers", layers}};
  report(command.output.common, text, json.dump(2));
}

}  // namespace

void add_convert(CLI::App& app) {
  const auto command = std::make_shared<ConvertCommand>();
  CLI::App& convert = *app.add_subcommand(
      "convert",
      "Reads an adapter of PEFT, mlx-lm or kohya's, writes one of PEFT or for llama.cpp");
  convert
      .add_option("input", command->input,
                  "a folder of PEFT's or of mlx-lm's, or a safetensors file of kohya's")
      ->required()
      ->type_name("IN");
  convert.add_option("--to", command->to, "peft or gguf (peft)")
      ->check(CLI::IsMember({"peft", "gguf"}))
      ->type_name("FORMAT");
  convert
      .add_option("--architecture", command->architecture,
                  "of the base model, for --to gguf: llama, qwen2, ...")
      ->type_name("NAME");
  const auto add_count = [&](const char* flag, lora::index_t& count, const char* text) {
    convert.add_option(flag, count, text)->check(CLI::Range(1, 1 << 16))->type_name("N");
  };
  add_count("--heads", command->heads.heads, "of the attention, for a llama's q_proj");
  add_count("--kv-heads", command->heads.kv_heads, "of keys and values, for a llama's k_proj");
  convert
      .add_option("--base", command->base,
                  "the model that an adapter of kohya's is for, which tells its module's paths")
      ->type_name("MODEL");
  convert
      .add_option("--prefix", command->prefix,
                  "take from a file of kohya's what begins so: lora_unet_")
      ->type_name("TEXT");
  convert
      .add_option("--embeddings", command->embeddings,
                  "modules of mlx-lm's that are embeddings, by the last part of their path, beside "
                  "embed_tokens, wte and the like")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  add_adapter_output_options(convert, command->output);
  convert.callback([command] { run(*command); });
}

}  // namespace lora_adapter
