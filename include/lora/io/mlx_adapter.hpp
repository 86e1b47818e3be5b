// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/detail/fault_list.hpp>
#include <lora/detail/strict_json.hpp>
#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/describe_layers.hpp>
#include <lora/io/file.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/linalg/matrix.hpp>
#include <lora/tensor.hpp>

// Adapters of mlx-lm: a folder with adapter_config.json, of PEFT's name but not its content, and
// adapters.safetensors with "<path>.lora_a" (in, r), "<path>.lora_b" (r, out) and, of DoRA,
// "<path>.m" (out,). What a layer adds is scale · x a b, without an alpha. Outside the umbrella: it
// needs nlohmann-json.

namespace lora::inline v0::detail {

/// What adapter_config.json of mlx-lm says about the adapter.
struct MlxConfig {
  double scale = 0;
  double dropout = 0;
  bool use_dora = false;

  /// Throws FileError where it is not the configuration of a LoRA or DoRA adapter.
  static MlxConfig parse(const nlohmann::json& object, const std::string& name) {
    const auto fail = [&](const std::string& what) { throw FileError(name + ": " + what); };
    MlxConfig config;
    const auto type = object.find("fine_tune_type");
    const nlohmann::json type_name = type == object.end() ? nlohmann::json("lora") : *type;
    config.use_dora = type_name == "dora";
    if (type_name != "lora" && type_name != "dora") {
      fail("fine_tune_type is " + type_name.dump(-1, ' ', true) +
           ", expected \"lora\" or \"dora\"");
    }
    const auto found = object.find("lora_parameters");
    if (found == object.end() || !found->is_object()) fail("there are no lora_parameters");
    const nlohmann::json& parameters = *found;
    if (parameters.contains("alpha")) {
      fail(
          "lora_parameters has an alpha, by which old versions of mlx-lm scale and new ones do "
          "not; write the scale that was trained with, without an alpha");
    }
    const auto number = [&](const char* key) {
      const auto value = parameters.find(key);
      if (value == parameters.end() || !value->is_number()) {
        fail(std::string("lora_parameters has no number ") + key);
      }
      return value->get<double>();
    };
    config.scale = number("scale");
    if (parameters.contains("dropout")) config.dropout = number("dropout");
    if (!(config.dropout >= 0 && config.dropout < 1)) {
      fail("dropout is " + std::to_string(config.dropout) + ", expected 0 to below 1");
    }
    return config;
  }
};

/// Puts an AdapterFile together from a file of mlx-lm's, and lists what is wrong with it.
template <class T>
class MlxReader {
 public:
  MlxReader(const SafetensorsFile& file, const MlxConfig& config,
            const std::vector<std::string>& embeddings)
      : file_(file) {
    result_.config.use_dora = config.use_dora;
    result_.config.lora_dropout = config.dropout;
    for (const auto& entry : file.tensors()) add(entry.first);
    for (auto& [path, layer] : result_.layers) {
      layer.scale = config.scale;
      layer.embedding = is_named_by_last_part(embeddings, path);
      finish(path, layer, config.use_dora);
    }
    if (result_.layers.empty() && faults_.empty()) faults_.add("there is no lora_a");
    if (!faults_.empty()) throw FileError(file.path() + ": " + faults_.text());
    describe_layers(result_);
  }

  AdapterFile<T> take() { return std::move(result_); }

 private:
  void add(const std::string& key) {
    const std::size_t dot = key.rfind('.');
    const std::string path = dot == key.npos ? "" : key.substr(0, dot);
    const std::string part = key.substr(dot + 1);
    if (path.empty() || (part != "lora_a" && part != "lora_b" && part != "m")) {
      return faults_.add(key + " is unexpected: not lora_a, lora_b or m");
    }
    const std::size_t sizes = file_.info(key).shape.size();
    if (sizes != (part == "m" ? 1 : 2)) {
      return faults_.add(key + " has " + std::to_string(sizes) + " sizes, expected " +
                         (part == "m" ? "a vector" : "a matrix"));
    }
    Tensor<T> value = file_.read_as<T>(key);
    for (const T x : value.span()) {
      if (std::isfinite(x)) continue;
      faults_.add(key + " is not finite");
      break;
    }
    AdapterLayer<T>& layer = result_.layers[path];
    if (part == "lora_a") layer.lora_A = linalg::detail::transpose(value);
    if (part == "lora_b") layer.lora_B = linalg::detail::transpose(value);
    if (part == "m") layer.magnitude = std::move(value);
  }

  void finish(const std::string& path, const AdapterLayer<T>& layer, bool use_dora) {
    if (layer.lora_A.empty()) return faults_.add(path + " has no lora_a");
    if (layer.lora_B.empty()) return faults_.add(path + " has no lora_b");
    const index_t rank = layer.lora_A.dim(0);
    if (layer.lora_B.dim(1) != rank || rank > PeftConfig::kMaxRank) {
      faults_.add(path + " has lora_a of rank " + std::to_string(rank) + " and lora_b of rank " +
                  std::to_string(layer.lora_B.dim(1)));
    }
    if (use_dora != !layer.magnitude.empty()) {
      faults_.add(path + (use_dora ? " has no m" : " has an m, but fine_tune_type is not dora"));
    } else if (use_dora && layer.embedding) {
      // mlx-lm has one length for each row of the table, PEFT for each column.
      faults_.add(path + " is an embedding with DoRA, which PEFT's is not");
    } else if (use_dora && layer.magnitude.numel() != layer.lora_B.dim(0)) {
      faults_.add(path + ".m has " + std::to_string(layer.magnitude.numel()) +
                  " elements, expected " + std::to_string(layer.lora_B.dim(0)));
    }
  }

  const SafetensorsFile& file_;
  AdapterFile<T> result_;
  FaultList faults_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Reads an adapter of mlx-lm: A and B are its transposed lora_a and lora_b, lora_alpha its scale
/// times the rank. `embeddings` are modules that are embeddings, by the last part of their path; in
/// mlx-lm an adapter of an embedding that is also the last layer's weight works on both, in PEFT on
/// the embedding alone, unless it is merged.
///
/// Throws FileError on a configuration with an "alpha", which versions of mlx-lm read in different
/// ways, and on files that are not whole or hold something else: adapters of mixtures of experts,
/// DoRA of embeddings.
template <class T>
AdapterFile<T> read_mlx_adapter(const std::string& folder,
                                const std::vector<std::string>& embeddings = common_embeddings()) {
  const std::string config_path = path_in(folder, "adapter_config.json");
  const auto config = detail::MlxConfig::parse(
      detail::parse_json_object(detail::read_json_text(config_path), config_path), config_path);
  const SafetensorsFile file(path_in(folder, "adapters.safetensors"));
  return detail::MlxReader<T>(file, config, embeddings).take();
}

}  // namespace lora::inline v0
