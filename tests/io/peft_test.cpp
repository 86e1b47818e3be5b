// SPDX-License-Identifier: MIT
#include "support/peft.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include <lora/nn/lora_init.hpp>

using namespace lora_test;

namespace {

const std::map<std::string, std::string>& peft_cases() {
  static const std::map<std::string, std::string> cases{
      {"plain", "mlp"},     {"rslora", "mlp"},          {"dora", "mlp"},
      {"patterns", "mlp"},  {"embedding", "words"},     {"conv2d", "picture"},
      {"lora_bias", "mlp"}, {"modules_to_save", "mlp"}, {"bias_lora_only", "mlp"},
      {"bias_all", "mlp"},  {"layers", "deep"},         {"bfloat16", "mlp"},
      {"float16", "mlp"},   {"two_adapters", "mlp"}};
  return cases;
}

nlohmann::json config_of(const std::filesystem::path& folder) {
  return nlohmann::json::parse(text_of(folder / "adapter_config.json"));
}

/// A copy of the case "plain" whose tensors and configuration can be changed.
struct Copy {
  Copy() {
    const lora::SafetensorsFile file(source.folder + "/adapter_model.safetensors");
    for (const auto& entry : file.tensors()) {
      tensors[entry.first] = file.read<float>(entry.first);
    }
    config = config_of(source.folder);
  }

  std::string write() const {
    std::vector<lora::TensorEntry> entries;
    for (const auto& [name, tensor] : tensors) entries.push_back(lora::tensor_entry(name, tensor));
    lora::write_safetensors(folder / "adapter_model.safetensors", entries);
    write_text(folder / "adapter_config.json", config.dump());
    return folder.path();
  }

  TemporaryFolder folder;
  PeftCase source{"plain"};
  std::map<std::string, Tensor<float>> tensors;
  nlohmann::json config;
};

const std::string kA1 = "base_model.model.linear1.lora_A.weight";
const std::string kB1 = "base_model.model.linear1.lora_B.weight";
const std::string kA2 = "base_model.model.linear2.lora_A.weight";

/// Loading the copy fails with all these texts, and the model stays as it was.
void check_refused(const Copy& copy, const std::vector<std::string>& texts) {
  auto net = copy.source.base();
  const Tensor<float> before = net.forward(copy.source.input);
  const std::string folder = copy.write();
  try {
    lora::load_peft_adapter(net, folder);
    FAIL("nothing was refused");
  } catch (const lora::FileError& error) {
    for (const std::string& text : texts) CHECK_THAT(error.what(), contains(text));
  }
  CHECK(lora::adapted_modules(net).empty());
  CHECK(same_bits(net.forward(copy.source.input), before));
  for (const auto& named : net.named_parameters()) CHECK(named.parameter->trainable);
}

}  // namespace

TEST_CASE("an adapter of PEFT's computes here what it computes there", "[peft]") {
  for (const auto& [name, network] : peft_cases()) {
    INFO("case " << name);
    const PeftCase peft(name, network);
    auto net = peft.base();
    lora::load_peft_adapter(net, peft.folder);
    CHECK(max_error(net.forward(peft.input), peft.output()) < 1e-5);
    auto exact = peft.base<double>();
    lora::load_peft_adapter(exact, peft.folder);
    Tensor<double> input(peft.input.shape());
    for (index_t i = 0; i < input.numel(); ++i) input[i] = peft.input[i];
    CHECK(max_error(exact.forward(input), peft.output()) < 1e-5);
  }
}

TEST_CASE("a first adapter is active and everything is frozen, unless it is to be trained",
          "[peft]") {
  const PeftCase peft("plain");
  auto net = peft.base();
  lora::load_peft_adapter(net, peft.folder);
  for (const auto& named : net.named_parameters()) CHECK_FALSE(named.parameter->trainable);
  auto trained = peft.base();
  lora::load_peft_adapter(trained, peft.folder, "mine", {.is_trainable = true});
  for (const auto& named : trained.named_parameters()) {
    CHECK(named.parameter->trainable == (named.name.find("lora_") != named.name.npos));
  }
  CHECK(lora::adapter_names(trained) == std::vector<std::string>{"mine"});
}

TEST_CASE("an adapter that comes second leaves the first as it is", "[peft]") {
  const PeftCase peft("two_adapters");
  CHECK(lora::peft_adapters(peft.folder) == std::vector<std::string>{"default", "other"});
  auto net = peft.base();
  lora::load_peft_adapter(net, peft.folder, "default", {.is_trainable = true});
  lora::load_peft_adapter(net, peft.folder, "other");
  CHECK(max_error(net.forward(peft.input), peft.output("default")) < 1e-5);
  for (const auto& named : lora::adapter_parameters(net, "default")) {
    CHECK(named.parameter->trainable);
  }
  for (const auto& named : lora::adapter_parameters(net, "other")) {
    CHECK_FALSE(named.parameter->trainable);
  }
  lora::set_adapter(net, "other");
  CHECK(max_error(net.forward(peft.input), peft.output("other")) < 1e-5);
  CHECK_THROWS_WITH(lora::load_peft_adapter(net, peft.folder, "other"),
                    contains("already has an adapter named \"other\""));
}

TEST_CASE("an adapter is found in its subfolder, and by the subfolder", "[peft]") {
  const PeftCase peft("two_adapters");
  auto by_subfolder = peft.base();
  lora::load_peft_adapter(by_subfolder, peft.folder + "/other", "default");
  CHECK(max_error(by_subfolder.forward(peft.input), peft.output("other")) < 1e-5);
  auto renamed = peft.base();
  lora::load_peft_adapter(renamed, peft.folder, "mine");
  CHECK(max_error(renamed.forward(peft.input), peft.output("default")) < 1e-5);
}

TEST_CASE("what PEFT has saved is saved again byte for byte", "[peft]") {
  for (const auto& [name, network] : peft_cases()) {
    INFO("case " << name);
    const PeftCase peft(name, network);
    const TemporaryFolder folder;
    auto net = peft.base();
    for (const std::string& adapter : lora::peft_adapters(peft.folder)) {
      lora::load_peft_adapter(net, peft.folder, adapter);
    }
    for (const std::string& adapter : lora::peft_adapters(peft.folder)) {
      const std::string below = adapter == "default" ? "" : adapter + "/";
      lora::save_peft_adapter(net, folder / "new/folder", adapter);
      const auto saved = folder / ("new/folder/" + below);
      if (name != "bfloat16" && name != "float16") {
        CHECK(text_of(saved / "adapter_model.safetensors") ==
              text_of(peft.folder + "/" + below + "adapter_model.safetensors"));
      }
      nlohmann::json expected = config_of(peft.folder + "/" + below);
      expected["auto_mapping"] = nullptr;
      auto& targets = expected["target_modules"];
      if (targets.is_array()) std::sort(targets.begin(), targets.end());
      if (name == "patterns") {
        targets = {"linear1", "linear2"};
        expected["rank_pattern"] = {{"linear2", 2}};
        expected["r"] = 2;
        expected["rank_pattern"] = {{"linear1", 4}};
        expected["alpha_pattern"] = {{"linear2", 5.5}};
      } else if (name == "layers") {
        targets = {"model.layers.0.query", "model.layers.2.query"};
        expected["layers_to_transform"] = nullptr;
      }
      CHECK(config_of(saved).dump(1) == expected.dump(1));
      CHECK(text_of(saved / "adapter_config.json") == config_of(saved).dump(2));
    }
  }
}

TEST_CASE("everything that an adapter can have comes back as it was saved", "[peft]") {
  const std::map<std::string, lora::LoRAConfig> configs{
      {"dropout", {.r = 2, .lora_dropout = 0.25}},
      {"odd alpha", {.r = 3, .lora_alpha = 0.1}},
      {"rslora", {.r = 3, .lora_alpha = 7, .use_rslora = true}},
      {"patterns", {.r = 2, .rank_pattern = {{"linear2", 4}}, .alpha_pattern = {{"linear1", 1}}}},
      {"dora", {.r = 2, .use_dora = true}},
      {"bias", {.r = 2, .target_modules = {"linear1"}, .bias = lora::LoRABias::all}},
      {"lora_bias", {.r = 2, .lora_bias = true, .modules_to_save = {"linear2"}}}};
  const auto x = random_tensor<float>({5, 7}, 3);
  for (const auto& [name, config] : configs) {
    INFO("case " << name);
    const TemporaryFolder folder;
    auto net = small_net<float>(1), other = small_net<float>(1);
    lora::adapt(net, config, "mine");
    lora::PhiloxGenerator generator(2);
    for (const auto& named : lora::adapter_parameters(net, "mine")) {
      generator.normal(named.parameter->value.span(), 1.0, 0.5);
    }
    lora::save_peft_adapter(net, folder.path(), "mine", "some/base");
    const lora::PeftConfig loaded = lora::load_peft_adapter(other, folder.path(), "mine");
    net.eval();
    other.eval();
    CHECK(same_bits(other.forward(x), net.forward(x)));
    CHECK(loaded.lora_dropout == config.lora_dropout);
    CHECK(loaded.use_rslora == config.use_rslora);
    CHECK(loaded.bias == config.bias);
    CHECK(loaded.base_model_name_or_path == "some/base");
  }
}

TEST_CASE("scales of no common formula are saved as alphas", "[peft]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1), other = small_net<float>(1);
  lora::adapt(net, {.r = 4});
  randomize_adapters(net, 4);
  lora_layer(net, 0).adapter().scale = 0.75;
  lora::save_peft_adapter(net, folder.path());
  const lora::PeftConfig config = lora::load_peft_adapter(other, folder.path());
  CHECK_FALSE(config.use_rslora);
  CHECK(lora::PeftMatcher(config).alpha("linear1") == 3);
  const auto x = random_tensor<float>({5, 7}, 3);
  CHECK(same_bits(other.forward(x), net.forward(x)));
}

TEST_CASE("a path that other paths end with is saved so that it means itself alone", "[peft]") {
  const TemporaryFolder folder;
  const auto path_is_proj = [](const std::string&, std::string_view path) {
    return path == "proj";
  };
  const lora::ModulePattern only_proj("proj", path_is_proj);
  const auto x = random_tensor<float>({3, 5}, 3);
  const auto comes_back = [&](const lora::LoRAConfig& config) {
    auto net = peft_network<float>("clash"), other = peft_network<float>("clash");
    const auto paths = lora::adapt(net, config);
    randomize_adapters(net, 4);
    lora::save_peft_adapter(net, folder.path());
    const lora::PeftConfig saved = lora::load_peft_adapter(other, folder.path());
    CHECK(lora::lora_layers(other).size() == paths.size());
    CHECK(same_bits(other.forward(x), net.forward(x)));
    return saved;
  };
  CHECK(comes_back({.r = 2, .target_modules = {only_proj, "last"}}).target_modules ==
        lora::PeftModules("(last|proj)"));
  const lora::PeftConfig all = comes_back({.r = 2, .rank_pattern = {{only_proj, 3}}});
  CHECK(all.target_modules ==
        lora::PeftModules(std::vector<std::string>{"inner.proj", "last", "proj"}));
  CHECK(all.rank_pattern == std::map<std::string, int>{{"^proj", 3}});
}

TEST_CASE("what PEFT has no form for is not saved", "[peft][errors]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1);
  CHECK_THROWS_WITH(lora::save_peft_adapter(net, folder.path()),
                    contains("the model has no adapter named \"default\""));
  lora::adapt(net, {.r = 2, .init_lora_weights = lora::pissa()});
  CHECK_THROWS_WITH(lora::save_peft_adapter(net, folder.path()), contains("convert_to_lora() it"));

  auto merged = small_net<float>(1);
  lora::adapt(merged, {.r = 2});
  lora_layer(merged, 0).merge();
  CHECK_THROWS_WITH(lora::save_peft_adapter(merged, folder.path()),
                    contains("the adapter of linear1 is merged"));
  CHECK_THROWS_WITH(lora::load_peft_adapter(merged, PeftCase("plain").folder, "other"),
                    contains("the adapter of linear1 is merged"));

  lora::PhiloxGenerator generator(1);
  lora::Linear<float> fused(5, 6, generator);
  fused.split_outputs({"q", "v"});
  lora::Sequential<float> sliced;
  sliced.add("qv", std::move(fused));
  lora::adapt(sliced, {.r = 2, .target_modules = {"qv.q"}});
  CHECK_THROWS_WITH(lora::save_peft_adapter(sliced, folder.path()),
                    contains("the adapter of qv is of the slice q"));

  auto mixed = small_net<float>(1);
  lora::adapt(mixed, {.r = 2, .use_dora = true});
  lora_layer(mixed, 0).adapter().magnitude = {};
  CHECK_THROWS_WITH(lora::save_peft_adapter(mixed, folder.path()),
                    contains("has DoRA on 1 of 2 layers"));
  CHECK_THROWS_WITH(lora::save_peft_adapter(mixed, folder.path(), "../other"),
                    contains("\"../other\" is no adapter's name"));
  CHECK(lora::peft_adapters(folder.path()).empty());
}

TEST_CASE("a module to save whose name another's ends with is not saved", "[peft][errors]") {
  const TemporaryFolder folder;
  lora::PhiloxGenerator generator(1);
  lora::Sequential<float> net;
  net.add("my_head", lora::Linear<float>(5, 5, generator));
  net.add("head", lora::Linear<float>(5, 5, generator));
  lora::adapt(net, {.r = 2, .target_modules = {"my_head"}, .modules_to_save = {"head"}});
  CHECK_THROWS_WITH(lora::save_peft_adapter(net, folder.path()),
                    contains("PEFT would save my_head as well as head"));
}

TEST_CASE("keys may have another prefix, or the adapter's name in them", "[peft]") {
  const PeftCase peft("plain");
  for (const std::string prefix : {"base_model.model.", "base_model.", ""}) {
    for (const std::string segment : {"", ".default", ".x"}) {
      INFO("prefix \"" << prefix << "\", segment \"" << segment << '"');
      Copy copy;
      std::map<std::string, Tensor<float>> renamed;
      for (const auto& [name, tensor] : copy.tensors) {
        const std::string key = prefix + name.substr(std::string("base_model.model.").size());
        renamed[replaced(key, ".weight", segment + ".weight")] = tensor;
      }
      copy.tensors = renamed;
      auto net = peft.base();
      lora::load_peft_adapter(net, copy.write());
      CHECK(max_error(net.forward(peft.input), peft.output()) < 1e-5);
    }
  }
  CHECK(lora::detail::plain_peft_key("base_model.model.a.lora_embedding_A.default") ==
        "a.lora_embedding_A");
  for (const char* ending : {"", ".weight", ".default", ".default.weight"}) {
    CHECK(lora::detail::plain_peft_key(std::string("a.lora_magnitude_vector") + ending) ==
          "a.lora_magnitude_vector");
  }
  CHECK(lora::detail::plain_peft_key("head.modules_to_save.default.weight") == "head.weight");
}

TEST_CASE("everything that does not fit is listed at once, and nothing changes", "[peft][errors]") {
  Copy copy;
  copy.tensors["base_model.model.linear3.lora_A.weight"] = copy.tensors.at(kA1);
  copy.tensors.at(kB1) = random_tensor<float>({6, 3}, 1);
  copy.tensors.at(kA2)[5] = std::numeric_limits<float>::quiet_NaN();
  copy.tensors.erase("base_model.model.linear2.lora_B.weight");
  copy.tensors.erase(kA1);
  check_refused(
      copy, {"adapter_model.safetensors does not fit the model: ", "missing " + kA1,
             "missing base_model.model.linear2.lora_B.weight",
             "unexpected base_model.model.linear3.lora_A.weight",
             kB1 + " has shape [6,3], expected (6, 2)", kA2 + " has values that are not finite"});
}

TEST_CASE("a file that is not the model's is refused", "[peft][errors]") {
  Copy swapped;
  std::swap(swapped.tensors.at(kA1), swapped.tensors.at(kB1));
  check_refused(swapped, {kA1 + " has shape [6,2], expected (2, 7)",
                          kB1 + " has shape [2,7], expected (6, 2)"});
  Copy rank;
  rank.config["r"] = 3;
  check_refused(rank, {kA1 + " has shape [2,7], expected (3, 7)"});
  Copy too_high;
  too_high.config["r"] = 7;
  check_refused(too_high, {"adapter_config.json: LoRAConfig: r is 7"});
  Copy dora;
  dora.config["use_dora"] = true;
  check_refused(dora, {"missing base_model.model.linear1.lora_magnitude_vector",
                       "missing base_model.model.linear2.lora_magnitude_vector"});
  Copy targets;
  targets.config["target_modules"] = {"query"};
  check_refused(targets,
                {"target_modules names no layer of the model; there are: linear1, linear2"});
  Copy fewer;
  fewer.config["target_modules"] = {"linear1"};
  check_refused(fewer, {"unexpected " + kA2});
  Copy overlap;
  overlap.config["rank_pattern"] = {{"linear1", 2}, {"linear.", 2}};
  check_refused(overlap, {"linear1 is matched by two entries of rank_pattern, \"linear.\" and "
                          "\"linear1\""});
  Copy twice;
  twice.tensors["linear1.lora_A.weight"] = twice.tensors.at(kA1);
  check_refused(twice, {"linear1.lora_A.weight is there twice"});
  Copy unknown;
  unknown.config["new_feature"] = 2;
  check_refused(unknown, {"adapter_config.json: unknown keys", "\"new_feature\" is 2"});
}

TEST_CASE("weights that are not finite and unknown keys can be let in", "[peft]") {
  Copy copy;
  copy.tensors.at(kA1)[0] = std::numeric_limits<float>::infinity();
  copy.config["new_feature"] = 2;
  auto net = copy.source.base();
  lora::load_peft_adapter(net, copy.write(), "default",
                          {.allow_nonfinite = true, .unknown_keys = lora::UnknownKeys::ignore});
  CHECK(std::isinf(lora_layer(net, 0).adapter().lora_A.value[0]));
}

TEST_CASE("a weight of the base comes along only if it is the model's own", "[peft]") {
  Copy copy;
  const Tensor<float> weight = copy.source.io.read<float>("base.linear1.weight");
  copy.tensors["base_model.model.linear1.base_layer.weight"] = weight;
  auto net = copy.source.base();
  lora::load_peft_adapter(net, copy.write());
  CHECK(max_error(net.forward(copy.source.input), copy.source.output()) < 1e-5);
  copy.tensors.at("base_model.model.linear1.base_layer.weight")[3] += 1;
  check_refused(copy, {"linear1.base_layer.weight is not the model's linear1.weight"});
}

TEST_CASE("a folder without an adapter, or with a pickle, is refused", "[peft][errors]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1);
  CHECK_THROWS_WITH(lora::load_peft_adapter(net, folder.path(), "mine"),
                    contains("there is no adapter_config.json, neither here nor in mine/"));
  write_text(folder / "adapter_config.json", "{\"peft_type\": \"LORA\"}");
  CHECK_THROWS_AS(lora::load_peft_adapter(net, folder.path()), lora::FileError);
  write_text(folder / "adapter_model.bin", "");
  CHECK_THROWS_WITH(lora::load_peft_adapter(net, folder.path()),
                    contains("the weights are in adapter_model.bin, a pickle"));
  CHECK_THROWS_AS(lora::load_peft_adapter(net, folder.path(), "a.b"), lora::ValueError);
}
