// SPDX-License-Identifier: MIT
#include <lora/io/peft_config.hpp>

#include "support/peft.hpp"

#include <algorithm>
#include <cmath>

using namespace lora_test;

namespace {

using Names = std::vector<std::string>;

/// A configuration with what `values`, a part of a JSON object, says besides the type.
lora::PeftConfig parse(const std::string& values,
                       lora::UnknownKeys unknown_keys = lora::UnknownKeys::refuse) {
  const std::string text =
      std::string("{\"peft_type\": \"LORA\"") + (values.empty() ? "" : ", ") + values + "}";
  return lora::parse_peft_config(text, "config", unknown_keys);
}

void check_error(const std::string& values, const std::string& text) {
  INFO(values);
  CHECK_THROWS_WITH(parse(values), contains("config: ") && contains(text));
}

bool is_target(const std::string& values, const std::string& path, bool is_linear = true) {
  return lora::PeftMatcher(parse(values)).is_target(path, is_linear);
}

}  // namespace

TEST_CASE("keys that are missing have PEFT's defaults", "[peft]") {
  const lora::PeftConfig config = parse("");
  CHECK(config.r == 8);
  CHECK(config.lora_alpha == 8);
  CHECK(config.lora_dropout == 0);
  CHECK(std::holds_alternative<std::monostate>(config.target_modules));
  CHECK(config.bias == lora::LoRABias::none);
  CHECK(std::get<bool>(config.init_lora_weights));
  CHECK_FALSE(config.use_rslora);
  CHECK(config.rank_pattern.empty());
}

TEST_CASE("every key that counts is read", "[peft]") {
  const lora::PeftConfig config = parse(R"("r": 3, "lora_alpha": 5.5, "lora_dropout": 0.25,
      "target_modules": ["b", "a"], "exclude_modules": "x.*", "modules_to_save": ["head"],
      "rank_pattern": {"a": 2}, "alpha_pattern": {"b": 1}, "bias": "all", "fan_in_fan_out": true,
      "use_rslora": true, "use_dora": true, "init_lora_weights": "gaussian",
      "layers_to_transform": 4, "layers_pattern": "layers", "base_model_name_or_path": "some/base",
      "task_type": "CAUSAL_LM", "revision": "main", "peft_version": "0.20.0")");
  CHECK(config.r == 3);
  CHECK(config.lora_alpha == 5.5);
  CHECK(config.lora_dropout == 0.25);
  CHECK(config.target_modules == lora::PeftModules(Names{"b", "a"}));
  CHECK(config.exclude_modules == lora::PeftModules("x.*"));
  CHECK(config.modules_to_save == Names{"head"});
  CHECK(config.rank_pattern.at("a") == 2);
  CHECK(config.alpha_pattern.at("b") == 1);
  CHECK(config.bias == lora::LoRABias::all);
  CHECK(config.fan_in_fan_out);
  CHECK(config.use_rslora);
  CHECK(config.use_dora);
  CHECK(std::get<std::string>(config.init_lora_weights) == "gaussian");
  CHECK(config.layers_to_transform == std::vector<int>{4});
  CHECK(config.layers_pattern == Names{"layers"});
  CHECK(config.base_model_name_or_path == "some/base");
  CHECK(config.task_type == "CAUSAL_LM");
  CHECK(config.revision == "main");
  CHECK(config.peft_version == "0.20.0");
  CHECK(lora::to_json(lora::parse_peft_config(lora::to_json(config), "again")) ==
        lora::to_json(config));
}

TEST_CASE("a configuration is written as PEFT writes it", "[peft]") {
  for (const char* name : {"plain", "rslora", "dora", "modules_to_save", "bias_all", "patterns"}) {
    INFO("case " << name);
    const PeftCase peft(name);
    const std::string text = text_of(peft.folder + "/adapter_config.json");
    auto expected = nlohmann::json::parse(text);
    expected["auto_mapping"] = nullptr;
    auto& targets = expected["target_modules"];
    if (targets.is_array()) std::sort(targets.begin(), targets.end());
    CHECK(lora::to_json(lora::parse_peft_config(text, "config")) == expected.dump(2));
  }
}

TEST_CASE("strings of any script are written in ASCII, and what is no UTF-8 or not finite is not",
          "[peft]") {
  lora::PeftConfig config;
  config.base_model_name_or_path = "\xC3\xA9";
  CHECK_THAT(lora::to_json(config), contains("\"base_model_name_or_path\": \"\\u00e9\""));
  config.base_model_name_or_path = "\xFF";
  CHECK_THROWS_WITH(lora::to_json(config), contains("expected strings of valid UTF-8"));
  lora::PeftConfig infinite;
  infinite.lora_alpha = INFINITY;
  CHECK_THROWS_WITH(lora::to_json(infinite), contains("expected finite numbers"));
}

TEST_CASE("text that is no strict JSON object is refused", "[peft][errors]") {
  const auto fails_with = [](const std::string& text, const std::string& what) {
    INFO(text.substr(0, 80));
    CHECK_THROWS_WITH(lora::parse_peft_config(text, "config"),
                      contains("config: ") && contains(what));
  };
  fails_with("", "expected valid JSON");
  fails_with("[]", "expected a JSON object, found array");
  fails_with("{\"peft_type\": \"LORA\"} x", "expected valid JSON");
  fails_with("{\"peft_type\": \"LORA\", \"r\": NaN}", "expected valid JSON");
  fails_with("{\"peft_type\": \"LORA\", \"lora_alpha\": 1e999}", "expected valid JSON");
  fails_with("{\"peft_type\": \"LO\xFFRA\"}", "expected valid JSON");
  fails_with("{\"peft_type\": \"LORA\", \"r\": 2, \"r\": 3}", "the key \"r\" stands twice");
  fails_with("{\"a\": {\"b\": 1, \"b\": 1}}", "the key \"b\" stands twice");
  fails_with(std::string(100'000, '['), "nested more than 32 deep");
  fails_with(std::string((1 << 20) + 1, ' '), "expected at most 1 MiB");
}

TEST_CASE("files of other kinds of adapters are told from PEFT's", "[peft][errors]") {
  const auto fails_with = [](const std::string& text, const std::string& what) {
    CHECK_THROWS_WITH(lora::parse_peft_config(text, "config"), contains(what));
  };
  fails_with("{\"r\": 8}", "there is no peft_type");
  fails_with("{\"peft_type\": \"IA3\"}", "peft_type is \"IA3\", expected \"LORA\"");
  fails_with("{\"lora_parameters\": {\"rank\": 8}}", "this is an adapter of mlx-lm");
}

TEST_CASE("values of another kind or out of range are refused", "[peft][errors]") {
  check_error("\"r\": 0", "r is 0, expected a whole number from 1 to 1048576");
  check_error("\"r\": 1048577", "r is 1048577");
  check_error("\"r\": 99999999999999999999", "expected a whole number");
  check_error("\"r\": 8.0", "r is 8.0");
  check_error("\"r\": true", "r is true");
  check_error("\"lora_alpha\": \"8\"", "lora_alpha is \"8\", expected a number");
  check_error("\"lora_dropout\": 1", "lora_dropout is 1");
  check_error("\"lora_dropout\": -0.5", "lora_dropout is -0.5");
  check_error("\"target_modules\": 3", "target_modules is 3, expected a list of strings, a string");
  check_error("\"target_modules\": [\"a\", 3]", "target_modules holds 3");
  check_error("\"modules_to_save\": \"head\"", "modules_to_save is \"head\", expected a list");
  check_error("\"rank_pattern\": [1]", "rank_pattern is [1], expected an object");
  check_error("\"rank_pattern\": {\"a\": 0}", "rank_pattern of a is 0");
  check_error("\"alpha_pattern\": {\"a\": null}", "alpha_pattern of a is null");
  check_error("\"bias\": \"some\"", "bias is \"some\", expected \"none\"");
  check_error("\"use_rslora\": 1", "use_rslora is 1, expected true or false");
  check_error("\"init_lora_weights\": 1", "init_lora_weights is 1");
  check_error("\"task_type\": 1", "task_type is 1, expected a string or null");
  check_error("\"layers_to_transform\": [-1]", "layers_to_transform is [-1]");
  check_error("\"layers_pattern\": \"a\"", "layers_pattern needs layers_to_transform");
  check_error("\"layers_to_transform\": 1, \"layers_pattern\": \"a|b\"", "expected a plain name");
  check_error("\"layers_to_transform\": 1, \"target_modules\": \"a\"", "need a list of target_mod");
  check_error("\"target_modules\": \"" + std::string(80, 'x') + "(\"", "a '(' without its ')'");
}

TEST_CASE("what changes what an adapter computes is refused by key and value", "[peft][errors]") {
  for (const std::string_view key : lora::detail::kRefusedPeftKeys) {
    const std::string quoted = "\"" + std::string(key) + "\": ";
    for (const char* off : {"null", "false", "[]", "{}"}) CHECK_NOTHROW(parse(quoted + off));
    check_error(quoted + "[1]", std::string(key) + " is [1], which is not supported");
  }
  for (const char* init : {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"}) {
    check_error("\"init_lora_weights\": \"" + std::string(init) + "\"",
                "trains on a changed base weight");
  }
}

TEST_CASE("unknown keys are all named, unless they are off or ignored", "[peft][errors]") {
  const std::string values = R"("shrink": 0.5, "r": 4, "off": null, "mode": "fast")";
  check_error(values, "unknown keys");
  check_error(values, "\"mode\" is \"fast\", \"shrink\" is 0.5");
  CHECK(parse(values, lora::UnknownKeys::ignore).r == 4);
  CHECK(parse("\"new_feature\": null, \"other\": false, \"eva_config\": {\"rho\": 2}").r == 8);
  check_error("\"long\": \"" + std::string(500, 'x') + "\"", "xxx...");
}

TEST_CASE("modules are meant by names and by expressions as in PEFT", "[peft]") {
  const std::string list = R"("target_modules": ["query", "mlp.up"])";
  CHECK(is_target(list, "query"));
  CHECK(is_target(list, "layers.3.query"));
  CHECK(is_target(list, "layers.3.mlp.up"));
  CHECK_FALSE(is_target(list, "my_query"));
  CHECK_FALSE(is_target(list, "up"));
  CHECK_FALSE(is_target(list, "query.inner"));
  const std::string regex = R"("target_modules": "layers\\.\\d+\\.(value|query)+")";
  CHECK(is_target(regex, "layers.12.value"));
  CHECK_FALSE(is_target(regex, "model.layers.12.value"));
  CHECK(is_target(R"("target_modules": "ALL-LINEAR")", "anything"));
  CHECK_FALSE(is_target(R"("target_modules": "all-linear")", "anything", false));
  CHECK_FALSE(is_target("", "anything"));
  CHECK_FALSE(is_target(list + R"(, "exclude_modules": ["3.query"])", "layers.3.query"));
  CHECK_FALSE(is_target(list + R"(, "exclude_modules": ".*3.*")", "layers.3.query"));
  CHECK_FALSE(is_target(list + R"(, "modules_to_save": ["layers"])", "model.layers.3.query"));
  CHECK(is_target(list + R"(, "modules_to_save": ["ayers"])", "model.layers.3.query"));
}

TEST_CASE("layers are counted as in PEFT", "[peft]") {
  const std::string some = R"("target_modules": ["query"], "layers_to_transform": [1, 20])";
  CHECK(is_target(some, "model.layers.1.query"));
  CHECK(is_target(some, "model.layers.20.attention.0.query"));
  CHECK_FALSE(is_target(some, "model.layers.2.experts.1.query"));
  CHECK_FALSE(is_target(some, "layers.1.query"));
  CHECK_FALSE(is_target(some, "query"));
  const std::string named = some + R"(, "layers_pattern": ["blocks", "layers"])";
  CHECK(is_target(named, "layers.1.query"));
  CHECK(is_target(named, "model.blocks.20.query"));
  CHECK_FALSE(is_target(named, "model.stages.1.query"));
  CHECK(is_target(R"("target_modules": ["query"], "layers_to_transform": [])", "query"));
}

TEST_CASE("ranks and scales are those of the pattern that matches", "[peft]") {
  const lora::PeftMatcher matcher(parse(R"("r": 4, "lora_alpha": 8, "use_rslora": true,
      "rank_pattern": {"layers.0.query": 16, "^value": 9}, "alpha_pattern": {"que.*": 2})"));
  CHECK(matcher.rank("model.layers.0.query") == 16);
  CHECK(matcher.alpha("model.layers.0.query") == 2);
  CHECK(matcher.scale("model.layers.0.query") == 0.5);
  CHECK(matcher.rank("value") == 9);
  CHECK(matcher.rank("layers.value") == 4);
  CHECK(matcher.scale("layers.value") == 4);
  CHECK(matcher.rank("layers_0.query_2") == 4);
  const lora::PeftMatcher twice(parse(R"("rank_pattern": {"query": 2, "0.query": 3})"));
  CHECK(twice.rank("layers.1.query") == 2);
  CHECK_THROWS_WITH(twice.rank("layers.0.query"),
                    contains("layers.0.query is matched by two entries of rank_pattern"));
}

TEST_CASE("a configuration of PEFT's trains a new adapter alike", "[peft]") {
  auto net = small_net<float>(1);
  lora::adapt(net, to_lora_config(parse(R"("r": 2, "lora_alpha": 6, "target_modules": "linear[12]",
      "rank_pattern": {"^linear.*2": 3}, "alpha_pattern": {"linear1": 5}, "use_rslora": true)")));
  CHECK(lora_layer(net, 0).adapter().rank() == 2);
  CHECK(lora_layer(net, 0).adapter().lora_alpha == 5);
  CHECK(lora_layer(net, 1).adapter().rank() == 3);
  CHECK(lora_layer(net, 1).adapter().scale == 6 / std::sqrt(3.0));
  CHECK_THROWS_WITH(to_lora_config(parse("")), contains("target_modules names nothing"));
  CHECK_THROWS_WITH(to_lora_config(parse(R"("target_modules": ["a"], "layers_to_transform": [1])")),
                    contains("layers_to_transform has no counterpart"));
}
