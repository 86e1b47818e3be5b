// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <lora/detail/peft_config_of.hpp>
#include <lora/detail/peft_loader.hpp>
#include <lora/error.hpp>
#include <lora/io/checkpoint.hpp>
#include <lora/io/file.hpp>
#include <lora/io/peft_config.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/nn/adapt.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/module.hpp>

// Adapters in the folders of PEFT, https://github.com/huggingface/peft: adapter_config.json and
// adapter_model.safetensors. Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

struct PeftLoadOptions {
  /// Whether the adapter is to be trained on; else it is frozen, as PEFT's is.
  bool is_trainable = false;
  /// Whether weights may be infinite or NaN.
  bool allow_nonfinite = false;
  UnknownKeys unknown_keys = UnknownKeys::refuse;
};

/// The names of the adapters in a folder of PEFT's: "default" for the folder itself, then those of
/// its subfolders, in order.
inline std::vector<std::string> peft_adapters(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, ignored), end; entry != end; entry.increment(ignored)) {
    const bool is_adapter = fs::is_regular_file(entry->path() / "adapter_config.json", ignored);
    if (is_adapter) names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  if (fs::is_regular_file(fs::path(folder) / "adapter_config.json", ignored)) {
    names.insert(names.begin(), "default");
  }
  return names;
}

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// An adapter's name is one of a folder and of parameters.
inline void require_adapter_name(const char* what, const std::string& name) {
  if (!name.empty() && name.find_first_of("./\\") == name.npos) return;
  throw ValueError(std::string(what) + ": \"" + name +
                   "\" is no adapter's name: it must be non-empty and hold no dot and no slash");
}

/// The subfolder of the adapter's name where there is one, else the folder itself.
inline std::filesystem::path folder_of_adapter(const std::string& folder, const std::string& name) {
  namespace fs = std::filesystem;
  const auto has_adapter = [](const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path / "adapter_config.json", ignored);
  };
  const fs::path itself = folder, below = itself / name;
  if (name == "default" && has_adapter(itself)) return itself;
  if (has_adapter(below)) return below;
  if (has_adapter(itself)) return itself;
  throw FileError(folder + ": there is no adapter_config.json, neither here nor in " + name + "/");
}

inline void require_safetensors(const std::filesystem::path& folder) {
  std::error_code ignored;
  const bool has_pickle = std::filesystem::exists(folder / "adapter_model.bin", ignored);
  if (!has_pickle || std::filesystem::exists(folder / "adapter_model.safetensors", ignored)) return;
  throw FileError(folder.string() +
                  ": the weights are in adapter_model.bin, a pickle of PyTorch's; save the adapter "
                  "as safetensors");
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Puts an adapter that PEFT has saved on a model, under `name`, and returns what its configuration
/// says. As in PEFT it becomes active if it is the model's first, the base is frozen then, and the
/// adapter is frozen too, unless the options say otherwise.
///
/// Everything must fit. Throws FileError that lists every tensor that is missing, unexpected,
/// misshapen or not finite, and ValueError on a name that is taken and while an adapter is merged;
/// then nothing has changed.
template <class T>
PeftConfig load_peft_adapter(Module<T>& module, const std::string& folder,
                             const std::string& name = "default",
                             const PeftLoadOptions& options = {}) {
  detail::require_adapter_name("load_peft_adapter", name);
  detail::require_unmerged(module, "load_peft_adapter");
  const std::vector<std::string> taken = adapter_names(module);
  if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
    throw ValueError("load_peft_adapter: the model already has an adapter named \"" + name + "\"");
  }
  const std::filesystem::path place = detail::folder_of_adapter(folder, name);
  detail::require_safetensors(place);
  const std::string config_path = (place / "adapter_config.json").string();
  const std::string weights_path = (place / "adapter_model.safetensors").string();
  PeftConfig config = read_peft_config(config_path, options.unknown_keys);
  const SafetensorsFile file(weights_path);

  const LoRAConfig lora = detail::lora_config_for(module, config, config_path);
  detail::AdapterPlan<T> plan = detail::plan_of_file(module, lora, name, config_path);
  detail::PeftTensors<T>(file, weights_path, options.allow_nonfinite).fill(plan, module, name);
  plan.for_each_parameter([&](const std::string&, bool, const char*, Parameter<T>& parameter) {
    parameter.trainable = options.is_trainable;
  });
  plan.put_in_place();
  if (taken.empty()) {
    set_adapter(module, name);
    for (const NamedParameter<T>& base : detail::base_parameters(module)) {
      base.parameter->trainable = false;
    }
  }
  return config;
}

/// Writes an adapter as PEFT does, so that PEFT puts it on the same modules of the same network:
/// into `folder` itself if it is the "default" one, else into a subfolder of its name. Folders are
/// made; each file is written whole or not at all, the configuration last. The strength that was
/// set at run time is not part of an adapter.
///
/// Throws FileError, and ValueError when the model has no adapter of that name, while it is merged,
/// and where PEFT has no form for it: on slices of a layer, and with initial values that count.
template <class T>
void save_peft_adapter(Module<T>& module, const std::string& folder,
                       const std::string& name = "default",
                       const std::string& base_model_name = "") {
  detail::require_adapter_name("save_peft_adapter", name);
  detail::require_unmerged(module, "save_peft_adapter");
  const auto parameters = detail::saved_parameters(module, name, "save_peft_adapter");
  PeftConfig config = detail::PeftConfigOf<T>(module, name).take();
  config.base_model_name_or_path = base_model_name;
  const std::string text = to_json(config);

  const std::filesystem::path itself = folder;
  const std::filesystem::path place = name == "default" ? itself : itself / name;
  std::error_code error;
  std::filesystem::create_directories(place, error);
  if (error) throw FileError(place.string() + ": cannot be made: " + error.message());
  detail::save_parameters(parameters, (place / "adapter_model.safetensors").string());
  AtomicFile file((place / "adapter_config.json").string());
  file.write(text);
  file.commit();
}

}  // namespace lora::inline v0
