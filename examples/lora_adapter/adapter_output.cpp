// SPDX-License-Identifier: MIT
#include "lora_adapter/adapter_output.hpp"

#include <CLI/CLI.hpp>

#include <lora/threads.hpp>

#include "support/format.hpp"
#include "support/output.hpp"

namespace lora_adapter {

using example_support::format;

void add_adapter_output_options(CLI::App& command, OutputOptions& options) {
  add_output_options(command, options.path, options.force);
  command.add_option("--dtype", options.dtype, "of the adapter's tensors: f32, f16 or bf16 (f32)")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->type_name("NAME");
  add_common_options(command, options.common);
}

void prepare(const OutputOptions& options, const std::vector<std::string>& files) {
  lora::set_num_threads(options.common.threads);
  require_absent(files, options.force);
  if (options.common.json != "-") example_support::require_writable({}, {options.common.json});
}

std::vector<std::string> files_of_adapter(const std::string& folder) {
  return {lora::path_in(folder, "adapter_config.json"),
          lora::path_in(folder, "adapter_model.safetensors")};
}

void write_adapter(const OutputOptions& options, const lora::AdapterFile<float>& adapter) {
  const std::string& dtype = options.dtype;
  lora::write_adapter_file(options.path, adapter,
                           dtype == "f16"    ? "F16"
                           : dtype == "bf16" ? "BF16"
                                             : "F32");
}

std::string table_of(const std::vector<lora::ResizedLayer>& layers) {
  std::string text;
  const int width = width_of_paths(layers);
  for (const lora::ResizedLayer& layer : layers) {
    text += format("  %-*s  rank %4lld -> %4lld  %8.4f %% kept\n", width, layer.path.c_str(),
                   static_cast<long long>(layer.from), static_cast<long long>(layer.to),
                   100 * layer.kept);
  }
  return text;
}

nlohmann::ordered_json json_of(const std::vector<lora::ResizedLayer>& layers) {
  auto json = nlohmann::ordered_json::array();
  for (const lora::ResizedLayer& layer : layers) {
    json.push_back({{"path", layer.path},
                    {"rank_before", layer.from},
                    {"rank", layer.to},
                    {"energy_kept", layer.kept}});
  }
  return json;
}

}  // namespace lora_adapter
