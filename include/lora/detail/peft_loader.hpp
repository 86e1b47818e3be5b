// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <lora/detail/adapter_key.hpp>
#include <lora/error.hpp>
#include <lora/io/checkpoint.hpp>
#include <lora/io/peft_config.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/nn/adapt.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/random.hpp>

namespace lora::inline v0::detail {

/// The settings of a file as those of one model: every module by its whole path, with its rank and
/// its alpha. Throws FileError, which `name` begins, when the model has none of the modules.
template <class T>
LoRAConfig lora_config_for(Module<T>& module, const PeftConfig& config, const std::string& name) {
  const auto exactly = [](const std::string& path) {
    return ModulePattern(path,
                         [](const std::string& text, std::string_view of) { return text == of; });
  };
  const PeftMatcher matcher(config);
  LoRAConfig lora;
  std::string adaptable;
  const auto set_ranks = [&](const std::string& path) {
    try {
      lora.rank_pattern.emplace_back(exactly(path), matcher.rank(path));
      lora.alpha_pattern.emplace_back(exactly(path), matcher.alpha(path));
    } catch (const ValueError& error) {
      throw FileError(name + ": " + error.what());
    }
  };
  for_each_child(module, "", [&](const std::string& path, Child<T>& child) {
    if (matcher.is_saved(path)) lora.modules_to_save.push_back(exactly(path));
    const auto base = AdapterPlan<T>::adaptable_base(child);
    if (!base) return;
    adaptable += (adaptable.empty() ? "" : ", ") + path;
    if (!matcher.is_target(path, dynamic_cast<Linear<T>*>(base.get()) != nullptr)) return;
    lora.target_modules.push_back(exactly(path));
    set_ranks(path);
  });
  if (lora.target_modules.empty()) {
    throw FileError(name + ": target_modules names no layer of the model; there are: " +
                    (adaptable.empty() ? "none" : adaptable));
  }
  lora.lora_dropout = config.lora_dropout;
  lora.bias = config.bias;
  lora.lora_bias = config.lora_bias;
  lora.use_rslora = config.use_rslora;
  lora.use_dora = config.use_dora;
  return lora;
}

/// The adapter that `config` asks for. Throws FileError, which `file` begins, where a layer cannot
/// have it. `config` must outlive the plan.
template <class T>
AdapterPlan<T> plan_of_file(Module<T>& module, const LoRAConfig& config, const std::string& adapter,
                            const std::string& file) {
  PhiloxGenerator unused(0);  // the initial values are replaced
  try {
    return AdapterPlan<T>(module, config, unused, adapter);
  } catch (const ValueError& error) {
    throw FileError(file + ": " + error.what());
  }
}

/// Fills an adapter that is planned, but not in place, with the tensors of a file.
template <class T>
class PeftTensors {
 public:
  PeftTensors(const SafetensorsFile& file, std::string path, bool allow_nonfinite)
      : file_(file), path_(std::move(path)), allow_nonfinite_(allow_nonfinite) {
    for (const auto& entry : file_.tensors()) {
      const std::string& name = entry.first;
      if (!names_.emplace(plain_peft_key(name), name).second) fault(name + " is there twice");
    }
  }

  /// Throws FileError with everything that does not fit, and then nothing has changed.
  void fill(AdapterPlan<T>& plan, Module<T>& module, const std::string& adapter) {
    struct Place {
      std::string name;
      Parameter<T>* parameter;
    };
    std::vector<Place> places;
    plan.for_each_parameter(
        [&](const std::string& path, bool has_rank, const char* name, Parameter<T>& parameter) {
          const std::string key = peft_key(path + "." + name, adapter, has_rank);
          const auto found = names_.find(key.substr(kPeftPrefix.size()));
          if (found == names_.end()) return fault("missing " + key);
          if (fits(found->second, parameter.value.shape())) {
            places.push_back({found->second, &parameter});
          }
          names_.erase(found);
        });
    for (const auto& [key, name] : names_) require_same_base(module, key, name);
    std::vector<Tensor<T>> values;
    for (const Place& place : places) values.push_back(read(place.name));
    if (!faults_.empty()) {
      throw FileError(path_ + " does not fit the model: " + faults_.substr(2));
    }
    for (std::size_t i = 0; i < places.size(); ++i) {
      Tensor<T>& value = places[i].parameter->value;
      value = values[i].to(value.device());
    }
  }

 private:
  void fault(const std::string& what) { faults_ += "; " + what; }

  bool fits(const std::string& name, const Shape& expected) {
    const std::vector<std::uint64_t>& found = file_.tensors().at(name).shape;
    bool same = static_cast<int>(found.size()) == expected.rank();
    for (int i = 0; same && i < expected.rank(); ++i) {
      same = found[static_cast<std::size_t>(i)] == static_cast<std::uint64_t>(expected[i]);
    }
    if (!same) {
      fault(name + " has shape " + to_string(found) + ", expected " + expected.to_string());
    }
    return same;
  }

  Tensor<T> read(const std::string& name) {
    Tensor<T> value = file_.template read_as<T>(name);
    const auto is_finite = [](T x) { return std::isfinite(x); };
    if (!allow_nonfinite_ && !std::all_of(value.span().begin(), value.span().end(), is_finite)) {
      fault(name + " has values that are not finite");
    }
    return value;
  }

  // PEFT saves an adapted embedding's weight with the adapter: allowed, if it is the model's own.
  void require_same_base(Module<T>& module, std::string key, const std::string& name) {
    for (const std::string_view wrapper : {".base_layer.", ".original_module."}) {
      const std::size_t at = key.rfind(wrapper);
      if (at != key.npos) key.erase(at, wrapper.size() - 1);
    }
    for (const NamedParameter<T>& named : module.named_parameters()) {
      if (named.name != key) continue;
      if (!fits(name, named.parameter->value.shape())) return;
      const Tensor<T> of_file = file_.template read_as<T>(name);
      const Tensor<T> of_model = named.parameter->value.to(Device::cpu);
      if (!std::equal(of_file.span().begin(), of_file.span().end(), of_model.span().begin())) {
        fault(name + " is not the model's " + key + ", which an adapter leaves as it is");
      }
      return;
    }
    fault("unexpected " + name);
  }

  const SafetensorsFile& file_;
  std::string path_;
  bool allow_nonfinite_;
  std::map<std::string, std::string> names_;  // in the file, by plain_peft_key
  std::string faults_;
};

}  // namespace lora::inline v0::detail
