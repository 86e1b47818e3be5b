// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <lora/detail/adapter_key.hpp>
#include <lora/detail/encode_elements.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/io/peft_config.hpp>
#include <lora/io/peft_matcher.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/tensor.hpp>

// An adapter without a model around it, for programs that look at files. Outside the umbrella: it
// needs nlohmann-json.

namespace lora::inline v0 {

/// One layer's adapter. Of a Linear W (O, I) gets s B A, of an Embedding W (V, D) s (B A)ᵀ; of a
/// convolution see LoRAConv2d.
template <class T>
struct AdapterLayer {
  bool embedding = false;
  Tensor<T> lora_A;       ///< (R, I); of an embedding (R, V), of a convolution (R, C, KH, KW)
  Tensor<T> lora_B;       ///< (O, R); of an embedding (D, R), of a convolution (O, R/groups, 1, 1)
  Tensor<T> lora_B_bias;  ///< (O,) with lora_bias, else empty
  Tensor<T> magnitude;    ///< of DoRA, else empty: (O,); of a convolution (1, O, 1, 1)
  double lora_alpha = 0;
  double scale = 0;  ///< alpha/r, or alpha/√r with rsLoRA

  index_t rank() const { return lora_A.dim(0); }
};

/// What a folder of PEFT's holds.
template <class T>
struct AdapterFile {
  PeftConfig config;
  std::map<std::string, AdapterLayer<T>> layers;  ///< by the path of the module

  /// Whole parameters of the model that come with the adapter, by their names there: those of
  /// modules_to_save, and biases.
  std::map<std::string, Tensor<T>> replaced;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// Puts an AdapterFile together, and lists what is wrong with it.
template <class T>
class AdapterFileReader {
 public:
  /// Throws FileError with everything that is wrong.
  AdapterFileReader(const SafetensorsFile& file, PeftConfig config)
      : file_(file), matcher_(config) {
    result_.config = std::move(config);
    for (const auto& entry : file.tensors()) add(entry.first);
    for (auto& [path, layer] : result_.layers) finish(path, layer);
    if (result_.layers.empty() && faults_.empty()) fault("there is no lora_A");
    if (!faults_.empty()) throw FileError(file.path() + ": " + faults_.substr(2));
  }

  AdapterFile<T> take() { return std::move(result_); }

 private:
  void fault(const std::string& what) { faults_ += "; " + what; }

  void add(const std::string& name) {
    Tensor<T> value = file_.read_as<T>(name);
    const auto is_finite = [](T x) { return std::isfinite(x); };
    if (!std::all_of(value.span().begin(), value.span().end(), is_finite)) {
      fault(name + " is not finite");
    }
    const AdapterKey key = parse_adapter_key(name);
    Tensor<T>* const place = place_of(key);
    if (!place) return fault("unexpected " + name);
    if (!place->empty()) fault(name + " is there twice");
    *place = std::move(value);
  }

  // Null where the configuration has no such tensor.
  Tensor<T>* place_of(const AdapterKey& key) {
    const bool of_embedding =
        key.part == AdapterKey::kEmbeddingA || key.part == AdapterKey::kEmbeddingB;
    switch (key.part) {
      case AdapterKey::kBaseBias:
        return result_.config.bias != LoRABias::none ? &result_.replaced[key.path + ".bias"]
                                                     : nullptr;
      case AdapterKey::kBaseWeight:
        return &result_.replaced[key.path + ".weight"];
      case AdapterKey::kOther:
        return comes_with_adapter(key.path) ? &result_.replaced[key.path] : nullptr;
      default:
        break;
    }
    // Without target_modules PEFT knows them by the model's type.
    const bool names_targets = result_.config.target_modules.index() != 0;
    if (names_targets && !matcher_.is_target(key.path, true)) return nullptr;
    AdapterLayer<T>& layer = result_.layers[key.path];
    layer.embedding = layer.embedding || of_embedding;
    switch (key.part) {
      case AdapterKey::kA:
      case AdapterKey::kEmbeddingA:
        return &layer.lora_A;
      case AdapterKey::kB:
      case AdapterKey::kEmbeddingB:
        return &layer.lora_B;
      case AdapterKey::kBBias:
        return &layer.lora_B_bias;
      default:
        return &layer.magnitude;
    }
  }

  // Whether a parameter of the model itself is one of modules_to_save, or a bias that was trained.
  bool comes_with_adapter(const std::string& name) const {
    if (result_.config.bias == LoRABias::all && name.ends_with(".bias")) return true;
    const auto& saved = result_.config.modules_to_save;
    return std::any_of(saved.begin(), saved.end(), [&](const std::string& module) {
      return ("." + name).find("." + module + ".") != name.npos;
    });
  }

  void finish(const std::string& path, AdapterLayer<T>& layer) {
    if (layer.lora_A.empty()) return fault("missing " + path + ".lora_A");
    if (layer.lora_B.empty()) return fault("missing " + path + ".lora_B");
    int rank = 0;
    try {
      rank = matcher_.rank(path);
      layer.lora_alpha = matcher_.alpha(path);
      layer.scale = matcher_.scale(path);
    } catch (const ValueError& error) {
      return fault(error.what());
    }
    const Shape& a = layer.lora_A.shape();
    const Shape& b = layer.lora_B.shape();
    if (a.rank() != b.rank() || (a.rank() != 2 && a.rank() != 4)) {
      return fault(path + " has lora_A " + a.to_string() + " and lora_B " + b.to_string() +
                   ", expected two matrices or two kernels of a convolution");
    }
    if (a[0] != rank) {
      fault(path + ".lora_A has shape " + a.to_string() + ", expected rank " +
            std::to_string(rank));
    }
    if (a.rank() == 2 && b[1] != a[0]) {
      fault(path + ".lora_B has shape " + b.to_string() + ", expected (out, " +
            std::to_string(a[0]) + ")");
    }
    if (result_.config.use_dora != !layer.magnitude.empty()) {
      fault(path + (layer.magnitude.empty() ? " has no lora_magnitude_vector"
                                            : " has a lora_magnitude_vector without use_dora"));
    }
    const auto require_outputs = [&](const Tensor<T>& vector, const char* what) {
      if (vector.empty() || vector.numel() == b[0]) return;
      fault(path + what + vector.shape().to_string() + ", expected " + std::to_string(b[0]) +
            " elements");
    };
    require_outputs(layer.magnitude, ".lora_magnitude_vector has shape ");
    require_outputs(layer.lora_B_bias, ".lora_B.bias has shape ");
  }

  const SafetensorsFile& file_;
  PeftMatcher matcher_;
  AdapterFile<T> result_;
  std::string faults_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Reads adapter_config.json and adapter_model.safetensors of a folder of PEFT's, of any
/// floating-point dtype. Throws FileError that lists everything that is missing, does not fit the
/// configuration or is not finite.
template <class T>
AdapterFile<T> read_adapter_file(const std::string& folder) {
  PeftConfig config = read_peft_config(path_in(folder, "adapter_config.json"));
  const SafetensorsFile file(path_in(folder, "adapter_model.safetensors"));
  return detail::AdapterFileReader<T>(file, std::move(config)).take();
}

/// Writes a folder of PEFT's, which is made where it is missing; each of the two files atomically.
/// `dtype` is that of the tensors in the file, F32, F16 or BF16, to which they are rounded; empty:
/// T's own. The configuration is written as it is: that its ranks and alphas are those of the
/// layers is the caller's matter. Throws FileError, and ValueError on another dtype and on a value
/// that is too large for it.
template <class T>
void write_adapter_file(const std::string& folder, const AdapterFile<T>& adapter,
                        std::string_view dtype = {}) {
  std::vector<TensorEntry> entries;
  std::deque<std::vector<std::byte>> encoded;
  const auto add = [&](const std::string& name, const Tensor<T>& value) {
    if (value.empty()) return;
    entries.push_back(tensor_entry("base_model.model." + name, value));
    if (dtype.empty()) return;
    encoded.push_back(detail::encode_elements<T>(dtype, value.span(), name));
    entries.back().dtype = dtype;
    entries.back().data = encoded.back();
  };
  for (const auto& [path, layer] : adapter.layers) {
    add(path + (layer.embedding ? ".lora_embedding_A" : ".lora_A.weight"), layer.lora_A);
    add(path + (layer.embedding ? ".lora_embedding_B" : ".lora_B.weight"), layer.lora_B);
    add(path + ".lora_B.bias", layer.lora_B_bias);
    add(path + ".lora_magnitude_vector", layer.magnitude);
  }
  for (const auto& [name, value] : adapter.replaced) {
    // A layer that has an adapter is PEFT's "base_layer".
    const std::size_t dot = name.rfind('.');
    const bool of_adapted = dot != name.npos && adapter.layers.count(name.substr(0, dot)) > 0;
    add(of_adapted ? name.substr(0, dot) + ".base_layer" + name.substr(dot) : name, value);
  }
  make_folder(folder);
  write_safetensors(path_in(folder, "adapter_model.safetensors"), std::move(entries),
                    {{"format", "pt"}});
  AtomicFile config(path_in(folder, "adapter_config.json"));
  config.write(to_json(adapter.config));
  config.commit();
}

}  // namespace lora::inline v0
