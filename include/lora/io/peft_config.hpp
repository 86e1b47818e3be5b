// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/detail/peft_config_reader.hpp>
#include <lora/detail/strict_json.hpp>
#include <lora/error.hpp>
#include <lora/io/peft_matcher.hpp>
#include <lora/io/peft_values.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0::detail {

/// A list as PEFT's would be if Python's sets had an order.
inline nlohmann::json sorted_names(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

inline nlohmann::json json_of(const PeftModules& modules) {
  if (const auto* names = std::get_if<std::vector<std::string>>(&modules)) {
    return sorted_names(*names);
  }
  if (const auto* expression = std::get_if<std::string>(&modules)) return *expression;
  return nullptr;
}

inline nlohmann::json null_if_empty(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

/// A whole number without the ".0" that PEFT's alphas do not have.
inline nlohmann::json json_of(double value) {
  if (!std::isfinite(value)) throw ValueError("PeftConfig: expected finite numbers");
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (std::trunc(value) == value && std::abs(value) < kExact) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Reads the text of an adapter_config.json; `name` begins the text of every error. Throws
/// FileError on anything but an object of at most 1 MiB with values of the right kinds, on a key
/// set to what is not supported here, and on unknown keys, all of which it lists, unless they are
/// to be ignored. An unknown key that is null, false or empty is a feature that is off.
inline PeftConfig parse_peft_config(std::string_view text, std::string_view name,
                                    UnknownKeys unknown_keys = UnknownKeys::refuse) {
  const nlohmann::json object = detail::parse_json_object(text, name);
  return detail::PeftConfigReader(object, name).read(unknown_keys);
}

/// Reads an adapter_config.json. Throws as parse_peft_config does, and where there is none.
inline PeftConfig read_peft_config(const std::string& path,
                                   UnknownKeys unknown_keys = UnknownKeys::refuse) {
  return parse_peft_config(detail::read_json_text(path), path, unknown_keys);
}

/// What PEFT 0.21 writes as adapter_config.json, with every key that it has. The same configuration
/// gives the same text. Throws ValueError on a string that is not UTF-8 and on an alpha that is not
/// finite.
inline std::string to_json(const PeftConfig& config) {
  using Json = nlohmann::json;
  constexpr std::array<const char*, 3> kBias{"none", "all", "lora_only"};
  Json alphas = Json::object(), ranks = Json::object();
  for (const auto& [key, alpha] : config.alpha_pattern) alphas[key] = detail::json_of(alpha);
  for (const auto& [key, r] : config.rank_pattern) ranks[key] = r;
  const auto null_if_none = [](const auto& list) {
    return list.empty() ? Json(nullptr) : Json(list);
  };
  const Json object = {
      {"alora_invocation_tokens", nullptr},
      {"alpha_pattern", alphas},
      {"arrow_config", nullptr},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", detail::null_if_empty(config.base_model_name_or_path)},
      {"bias", kBias[static_cast<std::size_t>(config.bias)]},
      {"corda_config", nullptr},
      {"ensure_weight_tying", false},
      {"eva_config", nullptr},
      {"exclude_modules", detail::json_of(config.exclude_modules)},
      {"fan_in_fan_out", config.fan_in_fan_out},
      {"inference_mode", true},
      {"init_lora_weights",
       std::visit([](const auto& init) { return Json(init); }, config.init_lora_weights)},
      {"kasa_config", nullptr},
      {"layer_replication", nullptr},
      {"layers_pattern", null_if_none(config.layers_pattern)},
      {"layers_to_transform", null_if_none(config.layers_to_transform)},
      {"loftq_config", Json::object()},
      {"lora_alpha", detail::json_of(config.lora_alpha)},
      {"lora_bias", config.lora_bias},
      {"lora_dropout", config.lora_dropout},
      {"lora_ga_config", nullptr},
      {"megatron_config", nullptr},
      {"megatron_core", "megatron.core"},
      {"modules_to_save", config.modules_to_save.empty()
                              ? Json(nullptr)
                              : detail::sorted_names(config.modules_to_save)},
      {"monteclora_config", nullptr},
      {"peft_type", "LORA"},
      {"peft_version", config.peft_version.empty() ? "0.21.2" : config.peft_version},
      {"qalora_group_size", 16},
      {"r", config.r},
      {"rank_pattern", ranks},
      {"revision", detail::null_if_empty(config.revision)},
      {"target_modules", detail::json_of(config.target_modules)},
      {"target_parameters", nullptr},
      {"task_type", detail::null_if_empty(config.task_type)},
      {"trainable_token_indices", nullptr},
      {"use_bdlora", nullptr},
      {"use_dora", config.use_dora},
      {"use_qalora", false},
      {"use_rslora", config.use_rslora},
      {"velora_config", nullptr},
  };
  try {
    return object.dump(2, ' ', true);
  } catch (const nlohmann::json::exception&) {
    throw ValueError("PeftConfig: expected strings of valid UTF-8");
  }
}

}  // namespace lora::inline v0
