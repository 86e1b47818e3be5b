// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/detail/fault_list.hpp>
#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/describe_layers.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/io/safetensors_model.hpp>
#include <lora/tensor.hpp>

// Adapters of image models as kohya's sd-scripts write them: one safetensors file with, for each
// module, "<name>.lora_down.weight" (A), "<name>.lora_up.weight" (B) and "<name>.alpha". The name
// is the module's path with underscores for its dots, behind a word for the part of the pipeline:
// "lora_unet_mid_block_attentions_0_proj_in". Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

/// The modules of a model by their flattened names: dots and underscores cannot be told apart in
/// them, so the model is asked.
class FlattenedModules {
 public:
  struct Module {
    std::string path;
    Shape weight;
  };

  /// The modules with a weight of two or four sizes.
  explicit FlattenedModules(const SafetensorsModel& model) {
    constexpr std::string_view kEnding = ".weight";
    for (const std::string& name : model.names()) {
      const auto& shape = model.find(name)->info(name).shape;
      if ((shape.size() != 2 && shape.size() != 4) || !name.ends_with(kEnding)) continue;
      const std::string path = name.substr(0, name.size() - kEnding.size());
      const std::vector<index_t> sizes(shape.begin(), shape.end());
      add(path, Shape(sizes.begin(), sizes.end()));
    }
  }

  /// The module whose path, or the end of it from a dot on, is `name` with dots for some of the
  /// underscores: the whole path first. Null when there is none; throws ValueError when there are
  /// several.
  const Module* find(const std::string& name) const {
    for (const std::map<std::string, Entry>* entries : {&whole_, &ends_}) {
      const auto found = entries->find(name);
      if (found == entries->end()) continue;
      const Entry& entry = found->second;
      if (entry.second.empty()) return &entry.module;
      throw ValueError("FlattenedModules: " + name + " may be " + entry.module.path + " or " +
                       entry.second);
    }
    return nullptr;
  }

 private:
  struct Entry {
    Module module;
    std::string second;  // the path of another one, if there is one
  };

  void add(const std::string& path, const Shape& weight) {
    std::string flattened = path;
    for (char& c : flattened) c = c == '.' ? '_' : c;
    put(whole_, flattened, path, weight);
    for (std::size_t dot = path.find('.'); dot != path.npos; dot = path.find('.', dot + 1)) {
      put(ends_, flattened.substr(dot + 1), path, weight);
    }
  }

  static void put(std::map<std::string, Entry>& entries, const std::string& name,
                  const std::string& path, const Shape& weight) {
    const auto [place, is_new] = entries.try_emplace(name, Entry{{path, weight}, {}});
    if (!is_new) place->second.second = path;
  }

  std::map<std::string, Entry> whole_, ends_;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// Puts an AdapterFile together from a file of kohya's, and lists what is wrong with it.
template <class T>
class KohyaReader {
 public:
  KohyaReader(const SafetensorsFile& file, const FlattenedModules* base, std::string_view prefix)
      : file_(file), base_(base), prefix_(prefix) {
    for (const auto& entry : file.tensors()) add(entry.first);
    for (auto& [name, layer] : layers_) finish(name, layer);
    if (result_.layers.empty() && faults_.empty()) {
      faults_.add("there is no lora_down" + (prefix_.empty() ? "" : " behind " + prefix_));
    }
    if (!faults_.empty()) throw FileError(file.path() + ": " + faults_.text());
    describe_layers(result_);
  }

  AdapterFile<T> take() { return std::move(result_); }

 private:
  struct Layer {
    Tensor<T> a, b;
    std::optional<double> alpha;
  };

  void add(const std::string& key) {
    if (!key.starts_with(prefix_)) return;
    const auto name_before = [&](std::string_view ending) {
      return key.ends_with(ending) ? key.substr(0, key.size() - ending.size()) : std::string();
    };
    if (const std::string name = name_before(".lora_down.weight"); !name.empty()) {
      layers_[name].a = read(key);
    } else if (const std::string up = name_before(".lora_up.weight"); !up.empty()) {
      layers_[up].b = read(key);
    } else if (const std::string of = name_before(".alpha"); !of.empty()) {
      layers_[of].alpha = read_alpha(key);
    } else if (key.ends_with(".lora_mid.weight")) {
      faults_.add(key + " makes a product of three, not of two");
    } else if (key.ends_with(".dora_scale")) {
      faults_.add(key + " is of a DoRA that is not PEFT's");
    } else {
      faults_.add(key + " is unexpected: not lora_down.weight, lora_up.weight or alpha");
    }
  }

  Tensor<T> read(const std::string& key) {
    Tensor<T> value = file_.read_as<T>(key);
    for (const T x : value.span()) {
      if (std::isfinite(x)) continue;
      faults_.add(key + " is not finite");
      break;
    }
    return value;
  }

  double read_alpha(const std::string& key) {
    const TensorInfo& info = file_.info(key);
    if (info.shape.size() > 1 || (info.shape.size() == 1 && info.shape[0] != 1)) {
      faults_.add(key + " has shape " + to_string(info.shape) + ", expected one number");
      return 1;
    }
    double alpha;
    if (info.dtype == "I64") {
      alpha = static_cast<double>(file_.read<std::int64_t>(key)[0]);
    } else {
      alpha = file_.read_as<double>(key)[0];
    }
    if (!std::isfinite(alpha)) faults_.add(key + " is not finite");
    return alpha;
  }

  void finish(const std::string& name, Layer& parts) {
    if (parts.a.empty()) return faults_.add(name + " has no lora_down");
    if (parts.b.empty()) return faults_.add(name + " has no lora_up");
    const FlattenedModules::Module* const module = base_ ? find(name) : nullptr;
    if (base_ && !module) return;
    if (module) fit_rank(module->weight, parts);
    const Shape& a = parts.a.shape();
    const Shape& b = parts.b.shape();
    const bool is_product = a.rank() == b.rank() && b.rank() > 1 && b[1] == a[0] &&
                            (a.rank() == 2 || (a.rank() == 4 && b[2] == 1 && b[3] == 1));
    if (!is_product || a[0] > PeftConfig::kMaxRank) {
      return faults_.add(name + " has lora_down " + a.to_string() + " and lora_up " +
                         b.to_string() + ", which are no A and B of one product");
    }
    if (module) require_fit(name, *module, a, b);
    AdapterLayer<T>& layer = result_.layers[module ? module->path : name];
    if (!layer.lora_A.empty()) return faults_.add(module->path + " is there twice");
    // As kohya's loader does, an alpha of 0 stands for none.
    const double rank = static_cast<double>(a[0]);
    layer.lora_alpha = parts.alpha.value_or(0) == 0 ? rank : *parts.alpha;
    layer.scale = layer.lora_alpha / rank;
    layer.lora_A = std::move(parts.a);
    layer.lora_B = std::move(parts.b);
  }

  const FlattenedModules::Module* find(const std::string& name) {
    // "lora_unet_", "lora_te1_"
    const std::size_t word = name.starts_with("lora_") ? name.find('_', 5) : name.npos;
    std::string flattened = word == name.npos ? name : name.substr(word + 1);
    for (char& c : flattened) c = c == '.' ? '_' : c;
    try {
      const FlattenedModules::Module* const module = base_->find(flattened);
      if (!module) faults_.add(name + " is no module of the base");
      return module;
    } catch (const ValueError& error) {
      faults_.add(error.what());
      return nullptr;
    }
  }

  // A convolution by a kernel of one point and a matrix are the same thing, and files have one for
  // the other. PEFT wants what the module is.
  static void fit_rank(const Shape& weight, Layer& parts) {
    const auto is_point = [](const Shape& shape) {
      return shape.rank() == 4 && shape[2] == 1 && shape[3] == 1;
    };
    const bool both = parts.a.shape().rank() == parts.b.shape().rank();
    for (Tensor<T>* factor : {&parts.a, &parts.b}) {
      const Shape shape = factor->shape();
      if (!both) return;
      if (weight.rank() == 2 && is_point(shape)) factor->reshape({shape[0], shape[1]});
      if (is_point(weight) && shape.rank() == 2) factor->reshape({shape[0], shape[1], 1, 1});
    }
  }

  void require_fit(const std::string& name, const FlattenedModules::Module& module, const Shape& a,
                   const Shape& b) {
    const Shape& w = module.weight;
    bool fits = w.rank() == a.rank() && w[0] == b[0];
    for (int i = 1; fits && i < w.rank(); ++i) fits = w[i] == a[i];
    if (fits) return;
    faults_.add(name + " has lora_down " + a.to_string() + " and lora_up " + b.to_string() +
                ", which do not fit the weight " + w.to_string() + " of " + module.path);
  }

  const SafetensorsFile& file_;
  const FlattenedModules* base_;
  std::string prefix_;
  std::map<std::string, Layer> layers_;
  AdapterFile<T> result_;
  FaultList faults_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Reads an adapter of kohya's sd-scripts. Its layers have the paths that `base` has for their
/// names; without a base, the flattened names themselves, which no model has. With a `prefix`
/// ("lora_unet_"), what does not begin with it is left out: a file may hold adapters of several
/// models. A missing alpha is the rank.
///
/// Throws FileError that lists what is missing, what is unexpected (a lora_mid, a dora_scale), what
/// is not finite, and, with a base, what is no module of it or does not fit its weight.
template <class T>
AdapterFile<T> read_kohya_adapter(const std::string& path, const FlattenedModules* base = nullptr,
                                  std::string_view prefix = {}) {
  const SafetensorsFile file(path);
  return detail::KohyaReader<T>(file, base, prefix).take();
}

}  // namespace lora::inline v0
