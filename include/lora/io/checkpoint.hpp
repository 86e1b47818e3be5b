// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0 {

namespace detail {

/// Saves the given parameters under their names.
template <class T>
void save_parameters(const std::vector<NamedParameter<T>>& parameters, const std::string& path) {
  std::vector<Tensor<T>> values;
  values.reserve(parameters.size());
  std::vector<TensorEntry> entries;
  for (const NamedParameter<T>& named : parameters) {
    values.push_back(named.parameter->value.to(Device::cpu));
    entries.push_back(tensor_entry(named.name, values.back()));
  }
  write_safetensors(path, std::move(entries), {{"format", "pt"}});
}

/// Loads the given parameters from a file that has exactly them. Nothing changes on an error, whose
/// text lists every difference.
template <class T>
void load_parameters(const std::vector<NamedParameter<T>>& parameters, const std::string& path) {
  const SafetensorsFile file(path);
  std::map<std::string, TensorInfo> unexpected = file.tensors();
  std::string faults;
  std::vector<Tensor<T>> values;
  for (const NamedParameter<T>& named : parameters) {
    const std::string& name = named.name;
    if (unexpected.erase(name) == 0) {
      faults += "; missing " + name;
      continue;
    }
    values.push_back(file.read<T>(name));
    if (values.back().shape() != named.parameter->value.shape()) {
      faults += "; " + name + " has shape " + values.back().shape().to_string() + ", expected " +
                named.parameter->value.shape().to_string();
    }
  }
  for (const auto& [name, info] : unexpected) faults += "; unexpected " + name;
  if (!faults.empty()) {
    throw FileError(path + " does not fit the model: " + faults.substr(2));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Parameter<T>& parameter = *parameters[i].parameter;
    parameter.value = values[i].to(parameter.value.device());
  }
}

/// The parameters that are no adapter's.
template <class T>
std::vector<NamedParameter<T>> base_parameters(Module<T>& module) {
  std::vector<const Parameter<T>*> of_adapters;
  for (const std::string& name : adapter_names(module)) {
    for (const auto& named : adapter_parameters(module, name)) {
      of_adapters.push_back(named.parameter);
    }
  }
  std::vector<NamedParameter<T>> base;
  for (const NamedParameter<T>& named : module.named_parameters()) {
    const auto found = std::find(of_adapters.begin(), of_adapters.end(), named.parameter);
    if (found == of_adapters.end()) base.push_back(named);
  }
  return base;
}

/// The name of an adapter's parameter in a file of PEFT's, which has no name of the adapter:
/// "linear1.lora_A.default.weight" is "base_model.model.linear1.lora_A.weight".
inline std::string peft_key(std::string path, const std::string& adapter, bool has_rank) {
  const auto replace = [&](const std::string& from, const std::string& to) {
    const std::size_t at = path.find(from);
    if (at == path.npos) return false;
    path.replace(at, from.size(), to);
    return true;
  };
  const std::string name = "." + adapter + ".";
  replace("lora_embedding_A." + adapter, "lora_embedding_A") ||
      replace("lora_embedding_B." + adapter, "lora_embedding_B") ||
      replace("lora_A" + name, "lora_A.") || replace("lora_B" + name, "lora_B.") ||
      replace("lora_magnitude_vector" + name + "weight", "lora_magnitude_vector") ||
      replace("lora_bias" + name, has_rank ? "base_layer." : "") ||
      replace("modules_to_save" + name, "");
  return "base_model.model." + path;
}

/// What the adapter of that name learns, under the names of PEFT's files. Throws ValueError when
/// the model has none, and while something keeps it from being saved or loaded.
template <class T>
std::vector<NamedParameter<T>> saved_parameters(Module<T>& module, const std::string& name,
                                                const char* what) {
  require_adapters(what, module, {name});
  std::vector<NamedParameter<T>> saved;
  for (const auto& [path, layer] : adapted_modules(module)) {
    auto* const lora_layer = dynamic_cast<LoRALayer<T>*>(layer);
    bool has_rank = false;
    for (const LoRAAdapter<T>* part :
         lora_layer ? lora_layer->parts_of_adapter(name) : std::vector<LoRAAdapter<T>*>{}) {
      if (part->has_initial_values()) {
        throw ValueError(std::string(what) + ": the adapter of " + path +
                         " counts from initial values of its own; convert_to_lora() it first");
      }
      has_rank = has_rank || part->rank() > 0;
    }
    const std::string prefix = path.empty() ? "" : path + ".";
    layer->adapter_parameters(name, [&](const char* own, Parameter<T>& parameter) {
      saved.push_back({peft_key(prefix + own, name, has_rank), &parameter});
    });
  }
  return saved;
}

template <class T>
void require_unmerged(Module<T>& module, const char* what) {
  for (const auto& [path, layer] : lora_layers(module)) {
    if (layer->merged()) {
      throw ValueError(std::string(what) + ": the adapter of " + path +
                       " is merged into its weight; unmerge() it first");
    }
  }
}

}  // namespace detail

/// Writes every parameter of the base model, by its path, as safetensors; adapters are not in it.
/// Throws FileError, and ValueError while an adapter is merged.
template <class T>
void save_model(Module<T>& module, const std::string& path) {
  detail::require_unmerged(module, "save_model");
  detail::save_parameters(detail::base_parameters(module), path);
}

/// Reads what save_model wrote. Throws FileError, with every missing, unexpected or misshapen
/// tensor, and then nothing has changed.
template <class T>
void load_model(Module<T>& module, const std::string& path) {
  detail::require_unmerged(module, "load_model");
  detail::load_parameters(detail::base_parameters(module), path);
}

/// Writes one adapter alone, under PEFT's names: "base_model.model.linear1.lora_A.weight". Throws
/// FileError, and ValueError when the model has no adapter of that name.
template <class T>
void save_adapter(Module<T>& module, const std::string& path, const std::string& name = "default") {
  detail::save_parameters(detail::saved_parameters(module, name, "save_adapter"), path);
}

/// Reads an adapter into a model that has been adapted alike. Errors are those of load_model.
template <class T>
void load_adapter(Module<T>& module, const std::string& path, const std::string& name = "default") {
  detail::require_unmerged(module, "load_adapter");
  detail::load_parameters(detail::saved_parameters(module, name, "load_adapter"), path);
}

}  // namespace lora::inline v0
