// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/file.hpp>
#include <lora/io/gguf_adapter.hpp>
#include <lora/io/mlx_adapter.hpp>
#include <lora/io/safetensors.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

/// Who wrote an adapter.
enum class AdapterFormat { peft, kohya, mlx };

/// Tells by the content. A file is of kohya's sd-scripts (read_kohya_adapter), a folder of PEFT
/// (read_adapter_file) or of mlx-lm (read_mlx_adapter), both with an adapter_config.json. Throws
/// FileError, which says what was expected, on anything else.
inline AdapterFormat recognize_adapter(const std::string& path) {
  if (is_folder(path)) {
    const std::string config = path_in(path, "adapter_config.json");
    const nlohmann::json object = detail::parse_json_object(detail::read_json_text(config), config);
    if (object.contains("peft_type")) return AdapterFormat::peft;
    if (object.contains("lora_parameters") || object.contains("fine_tune_type")) {
      return AdapterFormat::mlx;
    }
    throw FileError(config + ": expected PEFT's peft_type or mlx-lm's lora_parameters");
  }
  const SafetensorsFile file(path);
  const auto has = [&](std::string_view part) {
    return std::any_of(file.tensors().begin(), file.tensors().end(), [&](const auto& entry) {
      return entry.first.find(part) != entry.first.npos;
    });
  };
  if (has(".lora_down.") || has(".lora_up.")) return AdapterFormat::kohya;
  throw FileError(path + (has(".lora_A.") || has(".lora_a")
                              ? ": an adapter of PEFT or mlx-lm is a folder, name that"
                              : ": expected an adapter of kohya's, with lora_down and lora_up"));
}

/// Writes an adapter as llama.cpp loads it, for a base model of that architecture; see
/// write_gguf_adapter of layers. Each layer's scale is multiplied into its B. Throws ValueError on
/// what the format cannot hold: DoRA, lora_bias, replaced parameters and convolutions.
inline void write_gguf_adapter(const std::string& path, const std::string& architecture,
                               const AdapterFile<float>& adapter, const GgufHeads& heads = {}) {
  const auto refuse = [](const std::string& what) {
    throw ValueError("write_gguf_adapter: " + what + ", which GGUF has no place for");
  };
  if (!adapter.replaced.empty()) {
    refuse("the adapter replaces " + adapter.replaced.begin()->first);
  }
  std::vector<GgufAdapterLayer> layers;
  std::map<std::string, std::string> path_of;
  for (const auto& [module, layer] : adapter.layers) {
    if (!layer.magnitude.empty()) refuse(module + " has DoRA");
    if (!layer.lora_B_bias.empty()) refuse(module + " has a lora_bias");
    if (layer.lora_A.shape().rank() != 2) refuse(module + " is a convolution");
    GgufAdapterLayer out;
    out.base_name = gguf_base_name(architecture, module);
    const auto [place, is_new] = path_of.emplace(out.base_name, module);
    if (!is_new) {
      throw ValueError("write_gguf_adapter: " + place->second + " and " + module + " are both " +
                       out.base_name);
    }
    out.a = layer.lora_A.span();
    out.b = layer.lora_B.span();
    out.r = layer.rank();
    out.in = layer.lora_A.dim(1);
    out.out = layer.lora_B.dim(0);
    out.scale = layer.scale;
    out.embedding = layer.embedding;
    layers.push_back(out);
  }
  write_gguf_adapter(path, architecture, layers, heads);
}

}  // namespace lora::inline v0
