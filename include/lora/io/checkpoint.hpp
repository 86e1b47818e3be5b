// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/nn/adapt.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0 {

namespace detail {

/// Saves the given parameters; `prefix` goes before their names.
template <class T>
void save_parameters(const std::vector<NamedParameter<T>>& parameters, const std::string& prefix,
                     const std::string& path) {
  std::vector<Tensor<T>> values;
  values.reserve(parameters.size());
  std::vector<TensorEntry> entries;
  for (const NamedParameter<T>& named : parameters) {
    values.push_back(named.parameter->value.to(Device::cpu));
    entries.push_back(tensor_entry(prefix + named.name, values.back()));
  }
  write_safetensors(path, std::move(entries), {{"format", "pt"}});
}

/// Loads the given parameters from a file that has exactly them. Nothing changes on an error, whose
/// text lists every difference.
template <class T>
void load_parameters(const std::vector<NamedParameter<T>>& parameters, const std::string& prefix,
                     const std::string& path) {
  const SafetensorsFile file(path);
  std::map<std::string, TensorInfo> unexpected = file.tensors();
  std::string faults;
  std::vector<Tensor<T>> values;
  for (const NamedParameter<T>& named : parameters) {
    const std::string name = prefix + named.name;
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

/// The parameters of the adapters, or those of the base.
template <class T>
std::vector<NamedParameter<T>> adapter_parameters(Module<T>& module, bool of_adapter) {
  std::vector<NamedParameter<T>> chosen;
  for (const NamedParameter<T>& named : module.named_parameters()) {
    if (is_adapter_parameter(named.name) == of_adapter) chosen.push_back(named);
  }
  return chosen;
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
  detail::save_parameters(detail::adapter_parameters(module, false), "", path);
}

/// Reads what save_model wrote. Throws FileError, with every missing, unexpected or misshapen
/// tensor, and then nothing has changed.
template <class T>
void load_model(Module<T>& module, const std::string& path) {
  detail::require_unmerged(module, "load_model");
  detail::load_parameters(detail::adapter_parameters(module, false), "", path);
}

/// Writes the adapters alone, under PEFT's names: "base_model.model.linear1.lora_A.weight".
template <class T>
void save_adapter(Module<T>& module, const std::string& path) {
  const auto parameters = detail::adapter_parameters(module, true);
  if (parameters.empty()) throw ValueError("save_adapter: the model has no adapter");
  detail::save_parameters(parameters, "base_model.model.", path);
}

/// Reads adapters into a model that has been adapted alike. Errors are those of load_model.
template <class T>
void load_adapter(Module<T>& module, const std::string& path) {
  detail::require_unmerged(module, "load_adapter");
  const auto parameters = detail::adapter_parameters(module, true);
  if (parameters.empty()) throw ValueError("load_adapter: the model has no adapter");
  detail::load_parameters(parameters, "base_model.model.", path);
}

}  // namespace lora::inline v0
