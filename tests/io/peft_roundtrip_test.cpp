// SPDX-License-Identifier: MIT
#include "support/peft.hpp"

#include <cstdlib>
#include <utility>

using namespace lora_test;

// The half of tests/golden/peft_roundtrip.py that is C++; that script says how to run it.

namespace {

using Adapters = std::vector<std::pair<std::string, lora::LoRAConfig>>;

lora::ModulePattern exactly(const std::string& path) {
  return {path, [](const std::string& text, std::string_view of) { return text == of; }};
}

Tensor<float> input_of(const std::string& network) {
  if (network == "picture") return random_tensor<float>({2, 3, 7, 6}, 7);
  if (network == "deep" || network == "clash") return random_tensor<float>({4, 5}, 7);
  if (network == "mlp") return random_tensor<float>({5, 7}, 7);
  Tensor<float> words({2, 3});
  for (index_t i = 0; i < words.numel(); ++i) words[i] = static_cast<float>(3 * i % 11);
  return words;
}

/// Saves adapters as after training, and base, input and output as PEFT's cases have them.
void write_case(const std::filesystem::path& folder, const std::string& network,
                const Adapters& adapters, double scale = 0) {
  INFO("case " << folder);
  auto net = peft_network<float>(network);
  std::map<std::string, Tensor<float>> tensors{{"input", input_of(network)}};
  for (const auto& named : net.named_parameters()) {
    tensors["base." + named.name] = named.parameter->value;
  }
  lora::PhiloxGenerator generator(11);
  for (const auto& [name, config] : adapters) {
    lora::add_adapter(net, name, config);
    for (const auto& named : lora::adapter_parameters(net, name)) {
      const bool is_magnitude = named.name.find("magnitude") != named.name.npos;
      generator.normal(named.parameter->value.span(), is_magnitude ? 1.0 : 0.0, 0.5);
    }
  }
  if (scale != 0) lora::lora_layers(net).front().second->adapter().scale = scale;
  net.eval();
  for (const auto& entry : adapters) {
    const std::string& name = entry.first;
    lora::set_adapter(net, name);
    tensors["output." + name] = net.forward(tensors.at("input"));
    lora::save_peft_adapter(net, folder, name);
  }
  std::vector<lora::TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back(lora::tensor_entry(name, tensor));
  lora::write_safetensors(folder / "io.safetensors", std::move(entries));
}

}  // namespace

TEST_CASE("adapters for PEFT to read", "[.peft_roundtrip]") {
  const char* const target = std::getenv("LORA_ROUNDTRIP_FOLDER");
  REQUIRE(target != nullptr);
  const std::filesystem::path folder = target;
  const auto write = [&](const std::string& name, const std::string& network,
                         const lora::LoRAConfig& config) {
    write_case(folder / (network + "-" + name), network, {{"default", config}});
  };
  write("plain", "mlp", {.r = 2, .lora_alpha = 4});
  write("rslora", "mlp", {.r = 4, .lora_alpha = 6, .use_rslora = true});
  write("dora", "mlp", {.r = 2, .lora_alpha = 3, .use_dora = true});
  write("patterns", "mlp",
        {.r = 2,
         .lora_alpha = 3,
         .rank_pattern = {{"linear2", 3}},
         .alpha_pattern = {{"linear1", 1.5}}});
  write("lora_bias", "mlp", {.r = 2, .lora_alpha = 3, .lora_bias = true});
  write("modules_to_save", "mlp",
        {.r = 2, .target_modules = {"linear1"}, .modules_to_save = {"linear2"}});
  write("bias_all", "mlp", {.r = 2, .target_modules = {"linear1"}, .bias = lora::LoRABias::all});
  write("bias_lora_only", "mlp",
        {.r = 2, .target_modules = {"linear1"}, .bias = lora::LoRABias::lora_only});
  write("embedding", "words", {.r = 2, .lora_alpha = 4, .target_modules = {"embed", "head"}});
  write("conv2d", "picture", {.r = 2, .lora_alpha = 6, .target_modules = {"conv1", "conv2"}});
  write("deep", "deep",
        {.r = 2,
         .target_modules = {"query"},
         .rank_pattern = {{"2.query", 4}, {"0.query", 3}},
         .alpha_pattern = {{"1.query", 16}}});
  write("clash", "clash",
        {.r = 2, .target_modules = {exactly("proj"), "last"}, .rank_pattern = {{"last", 3}}});
  write("anchored", "clash",
        {.r = 2, .rank_pattern = {{exactly("proj"), 3}}, .alpha_pattern = {{exactly("proj"), 1}}});
  write_case(folder / "mlp-odd_scale", "mlp", {{"default", {.r = 4}}}, 0.3);
  write_case(folder / "mlp-two_adapters", "mlp",
             {{"default", {.r = 2}}, {"other", {.r = 3, .target_modules = {"linear2"}}}});
}
