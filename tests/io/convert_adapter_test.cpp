// SPDX-License-Identifier: MIT
#include <lora/io/convert_adapter.hpp>

#include <fstream>
#include <string>
#include <vector>

#include <lora/io/gguf.hpp>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::AdapterFile;
using lora::AdapterFormat;
using lora::FileError;
using lora::recognize_adapter;
using lora::ValueError;

TEST_CASE("an adapter's format is told by its content", "[convert_adapter]") {
  const TemporaryFolder folder;
  const auto config = [&](const std::string& text) {
    std::ofstream(folder / "adapter_config.json") << text;
    return recognize_adapter(folder.path());
  };
  CHECK(config(R"({"peft_type": "LORA"})") == AdapterFormat::peft);
  CHECK(config(R"({"lora_parameters": {}})") == AdapterFormat::mlx);
  CHECK(config(R"({"fine_tune_type": "dora"})") == AdapterFormat::mlx);
  CHECK_THROWS_AS(config("{}"), FileError);
  CHECK_THROWS_WITH(config("{}"), contains("expected PEFT's peft_type or mlx-lm's"));

  const Tensor<float> x({2, 2});
  const auto file = [&](const std::string& name) {
    lora::write_safetensors(folder / "a.safetensors", {lora::tensor_entry(name, x)});
    return recognize_adapter(folder / "a.safetensors");
  };
  CHECK(file("lora_unet_a.lora_up.weight") == AdapterFormat::kohya);
  CHECK_THROWS_WITH(file("a.lora_A.weight"), contains("is a folder, name that"));
  CHECK_THROWS_WITH(file("a.lora_a"), contains("is a folder, name that"));
  CHECK_THROWS_WITH(file("weight"), contains("expected an adapter of kohya's"));
  CHECK_THROWS_WITH(recognize_adapter(folder / "none"), contains("there is no such file"));
}

TEST_CASE("an adapter for llama.cpp has the scales in its Bs", "[convert_adapter]") {
  AdapterFile<float> file;
  file.layers["model.layers.0.mlp.up_proj"] = random_layer(9, 5, 3, 2.5, 1);
  file.layers["model.layers.11.self_attn.v_proj"] = random_layer(6, 5, 2, 0.5, 2);
  auto& table = file.layers["model.embed_tokens"] = random_layer(5, 13, 2, 1.5, 3);
  table.embedding = true;
  const TemporaryFolder folder;
  lora::write_gguf_adapter(folder / "a.gguf", "llama", file);
  const lora::GgufFile gguf(folder / "a.gguf");
  CHECK(gguf.tensors().size() == 6);
  const auto change = [&](const std::string& name, double scale) {
    lora::AdapterLayer<float> layer;
    layer.lora_A = gguf.read<float>(name + ".lora_a");
    layer.lora_B = gguf.read<float>(name + ".lora_b");
    layer.scale = scale;
    return layer;
  };
  const auto up = change("blk.0.ffn_up.weight", 1);
  CHECK(relative_distance(delta(up), delta(file.layers["model.layers.0.mlp.up_proj"])) < 1e-6);
  const auto v = change("blk.11.attn_v.weight", 1);
  CHECK(relative_distance(delta(v), delta(file.layers["model.layers.11.self_attn.v_proj"])) < 1e-6);
  auto tokens = change("token_embd.weight", 1);
  CHECK(tokens.lora_A.shape() == Shape{13, 2});
  tokens.lora_A = transposed(tokens.lora_A);
  tokens.embedding = true;
  CHECK(relative_distance(delta(tokens), delta(table)) < 1e-6);
}

TEST_CASE("what GGUF cannot hold is refused", "[convert_adapter][errors]") {
  const TemporaryFolder folder;
  AdapterFile<float> good;
  good.layers["a.b"] = random_layer(4, 4, 2, 1, 1);
  const auto refuse = [&](const AdapterFile<float>& file, const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(lora::write_gguf_adapter(folder / "a.gguf", "llama", file), ValueError);
    CHECK_THROWS_WITH(lora::write_gguf_adapter(folder / "a.gguf", "llama", file), contains(why));
    CHECK_FALSE(lora::file_exists(folder / "a.gguf"));
  };
  AdapterFile<float> file = good;
  file.layers["a.b"].magnitude = Tensor<float>({4});
  refuse(file, "a.b has DoRA");
  file = good;
  file.layers["a.b"].lora_B_bias = Tensor<float>({4});
  refuse(file, "a.b has a lora_bias");
  file = good;
  file.replaced["head.weight"] = Tensor<float>({4});
  refuse(file, "the adapter replaces head.weight");
  file = good;
  file.layers["conv"] = random_conv_layer(4, {2, 3, 3}, 2, 1, 1);
  refuse(file, "conv is a convolution");
  file = good;
  file.layers["layers.0.mlp.up_proj"] = file.layers["model.layers.0.mlp.up_proj"] =
      random_layer(4, 4, 2, 1, 1);
  refuse(file, "layers.0.mlp.up_proj and model.layers.0.mlp.up_proj are both blk.0.ffn_up.weight");
  refuse({}, "there are no layers");
  lora::write_gguf_adapter(folder / "a.gguf", "llama", good);
  CHECK(lora::file_exists(folder / "a.gguf"));
}
