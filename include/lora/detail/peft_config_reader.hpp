// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/peft_matcher.hpp>
#include <lora/io/peft_values.hpp>

namespace lora::inline v0 {

/// What to do with keys that PEFT 0.21 does not have.
enum class UnknownKeys { refuse, ignore };

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// What changes what an adapter computes, or gives it tensors that are not LoRA's.
inline constexpr std::array<std::string_view, 13> kRefusedPeftKeys{"alora_invocation_tokens",
                                                                   "arrow_config",
                                                                   "enable_lora",
                                                                   "ensure_weight_tying",
                                                                   "kasa_config",
                                                                   "layer_replication",
                                                                   "megatron_config",
                                                                   "monteclora_config",
                                                                   "target_parameters",
                                                                   "use_bdlora",
                                                                   "trainable_token_indices",
                                                                   "use_qalora",
                                                                   "velora_config"};

/// What says how training began or ran, or how PEFT finds things.
inline constexpr std::array<std::string_view, 11> kIgnoredPeftKeys{
    "auto_mapping", "corda_config",      "eva_config",    "inference_mode",
    "loftq_config", "lora_ga_config",    "megatron_core", "merge_weights",
    "peft_type",    "qalora_group_size", "runtime_config"};

/// Reads the values of one adapter_config.json, and notes which keys it has used.
class PeftConfigReader {
 public:
  PeftConfigReader(const nlohmann::json& object, std::string_view name)
      : object_(object), name_(name) {}

  PeftConfig read(UnknownKeys unknown_keys) {
    require_lora();
    PeftConfig config;
    config.r = rank("r", value_or("r", 8));
    config.lora_alpha = number("lora_alpha", value_or("lora_alpha", 8));
    config.lora_dropout = number("lora_dropout", value_or("lora_dropout", 0.0));
    if (config.lora_dropout < 0 || config.lora_dropout >= 1) {
      fail_type("lora_dropout", "a number from 0 to below 1", object_["lora_dropout"]);
    }
    config.target_modules = modules("target_modules");
    config.exclude_modules = modules("exclude_modules");
    config.modules_to_save = names("modules_to_save");
    pattern("rank_pattern", [&](const std::string& key, const nlohmann::json& value) {
      config.rank_pattern[key] = rank("rank_pattern of " + key, value);
    });
    pattern("alpha_pattern", [&](const std::string& key, const nlohmann::json& value) {
      config.alpha_pattern[key] = number("alpha_pattern of " + key, value);
    });
    config.bias = bias();
    config.fan_in_fan_out = boolean("fan_in_fan_out");
    config.use_rslora = boolean("use_rslora");
    config.use_dora = boolean("use_dora");
    config.lora_bias = boolean("lora_bias");
    config.init_lora_weights = init();
    config.layers_to_transform = layers();
    config.layers_pattern = names("layers_pattern");
    config.base_model_name_or_path = text("base_model_name_or_path");
    config.revision = text("revision");
    config.task_type = text("task_type");
    config.peft_version = text("peft_version");
    require_layers_fit(config);
    refuse_unsupported();
    require_expressions(config);
    if (unknown_keys == UnknownKeys::refuse) refuse_unknown();
    return config;
  }

 private:
  using Json = nlohmann::json;

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(std::string(name_) + ": " + what);
  }

  [[noreturn]] void fail_type(const std::string& key, const char* expected,
                              const Json& found) const {
    fail(key + " is " + short_text(found) + ", expected " + expected);
  }

  // A value as it may stand in a sentence.
  static std::string short_text(const Json& value) {
    constexpr std::size_t kLongest = 60;
    std::string text = value.dump(-1, ' ', true);
    if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
    return text;
  }

  // Whether a feature is switched off by this value.
  static bool is_off(const Json& value) {
    return value.is_null() || value == false || (value.is_structured() && value.empty());
  }

  Json value_or(const std::string& key, const Json& otherwise) {
    used_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? otherwise : *found;
  }

  void require_lora() const {
    const auto type = object_.find("peft_type");
    if (type == object_.end() && object_.contains("lora_parameters")) {
      fail("this is an adapter of mlx-lm, whose files are not PEFT's; convert it first");
    }
    if (type == object_.end()) fail("there is no peft_type, expected \"LORA\"");
    if (*type != "LORA") fail_type("peft_type", "\"LORA\"", *type);
  }

  int rank(const std::string& key, const Json& value) const {
    const bool fits = value.is_number_integer() && value >= 1 && value <= PeftConfig::kMaxRank;
    if (!fits) fail_type(key, "a whole number from 1 to 1048576", value);
    return value.get<int>();
  }

  double number(const std::string& key, const Json& value) const {
    if (!value.is_number()) fail_type(key, "a number", value);
    return value.get<double>();
  }

  bool boolean(const std::string& key) {
    const Json value = value_or(key, false);
    if (!value.is_boolean()) fail_type(key, "true or false", value);
    return value.get<bool>();
  }

  std::string text(const std::string& key) {
    const Json value = value_or(key, nullptr);
    if (!value.is_null() && !value.is_string()) fail_type(key, "a string or null", value);
    return value.is_null() ? "" : value.get<std::string>();
  }

  PeftModules modules(const std::string& key) {
    const Json value = value_or(key, nullptr);
    if (value.is_null()) return {};
    if (value.is_string()) return value.get<std::string>();
    return list_of_names(key, value, "a list of strings, a string or null");
  }

  std::vector<std::string> names(const std::string& key) {
    const Json value = value_or(key, nullptr);
    if (value.is_null()) return {};
    if (value.is_string() && key == "layers_pattern") {
      const auto name = value.get<std::string>();
      return name.empty() ? std::vector<std::string>{} : std::vector{name};
    }
    return list_of_names(key, value, "a list of strings or null");
  }

  std::vector<std::string> list_of_names(const std::string& key, const Json& value,
                                         const char* expected) const {
    if (!value.is_array()) fail_type(key, expected, value);
    std::vector<std::string> names;
    for (const Json& item : value) {
      if (!item.is_string() || item.get_ref<const std::string&>().empty()) {
        fail(key + " holds " + short_text(item) + ", expected strings that are not empty");
      }
      names.push_back(item.get<std::string>());
    }
    return names;
  }

  template <class Visit>
  void pattern(const std::string& key, const Visit& visit) {
    const Json value = value_or(key, nullptr);
    if (value.is_null()) return;
    if (!value.is_object()) fail_type(key, "an object or null", value);
    for (const auto& [name, item] : value.items()) visit(name, item);
  }

  LoRABias bias() {
    const Json value = value_or("bias", "none");
    if (value == "none") return LoRABias::none;
    if (value == "all") return LoRABias::all;
    if (value == "lora_only") return LoRABias::lora_only;
    fail_type("bias", "\"none\", \"all\" or \"lora_only\"", value);
  }

  // PEFT repeats some initialisations when it loads an adapter, and they change the base's weight.
  std::variant<bool, std::string> init() {
    const Json value = value_or("init_lora_weights", true);
    if (value.is_boolean()) return value.get<bool>();
    if (!value.is_string()) fail_type("init_lora_weights", "true, false or a string", value);
    const auto name = value.get<std::string>();
    for (const std::string_view changes : {"pissa", "corda", "olora", "loftq", "lora_ga"}) {
      if (!name.starts_with(changes)) continue;
      fail("init_lora_weights is " + short_text(value) +
           ", which trains on a changed base weight; convert the adapter to plain LoRA in PEFT: "
           "save_pretrained(..., path_initial_model_for_weight_conversion=...)");
    }
    return name;
  }

  std::vector<int> layers() {
    const Json value = value_or("layers_to_transform", nullptr);
    const Json list = value.is_array() ? value : value.is_null() ? Json::array() : Json{value};
    std::vector<int> layers;
    for (const Json& item : list) {
      if (!item.is_number_integer() || item < 0 || item > PeftConfig::kMaxRank) {
        fail_type("layers_to_transform", "a layer's number, a list of them or null", value);
      }
      layers.push_back(item.get<int>());
    }
    return layers;
  }

  void require_layers_fit(const PeftConfig& config) const {
    const bool has_expression = std::holds_alternative<std::string>(config.target_modules);
    const bool names_layers = !config.layers_to_transform.empty();
    if (has_expression && (names_layers || !config.layers_pattern.empty())) {
      fail("layers_to_transform and layers_pattern need a list of target_modules, found " +
           short_text(object_["target_modules"]));
    }
    if (!config.layers_pattern.empty() && !names_layers) {
      fail("layers_pattern needs layers_to_transform");
    }
    const auto is_plain = [](const std::string& text) {
      return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
      });
    };
    for (const std::string& pattern : config.layers_pattern) {
      if (!is_plain(pattern)) fail("layers_pattern is " + pattern + ", expected a plain name");
    }
  }

  void require_expressions(const PeftConfig& config) const {
    try {
      const PeftMatcher check(config);
    } catch (const ValueError& error) {
      fail(error.what());
    }
  }

  void refuse_unsupported() const {
    for (const std::string_view key : kRefusedPeftKeys) {
      const auto found = object_.find(key);
      if (found == object_.end() || is_off(*found)) continue;
      fail(std::string(key) + " is " + short_text(*found) + ", which is not supported");
    }
  }

  // A key of a later PEFT that is off changes nothing.
  void refuse_unknown() const {
    const auto is_among = [](const auto& keys, const std::string& key) {
      return std::find(keys.begin(), keys.end(), key) != keys.end();
    };
    std::string unknown;
    for (const auto& [key, value] : object_.items()) {
      const bool is_known = is_among(used_, key) || is_among(kRefusedPeftKeys, key) ||
                            is_among(kIgnoredPeftKeys, key);
      if (is_known || is_off(value)) continue;
      unknown += ", " + short_text(key) + " is " + short_text(value);
    }
    if (!unknown.empty()) {
      fail("unknown keys, which may change what the adapter computes: " + unknown.substr(2));
    }
  }

  const Json& object_;
  std::string_view name_;
  std::vector<std::string> used_;
};

}  // namespace lora::inline v0::detail
