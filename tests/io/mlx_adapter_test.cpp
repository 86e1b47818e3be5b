// SPDX-License-Identifier: MIT
#include <lora/io/mlx_adapter.hpp>

#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::AdapterFile;
using lora::FileError;

namespace {

using Tensors = std::map<std::string, Tensor<float>>;

AdapterFile<float> read(const Tensors& tensors, const std::string& config) {
  const TemporaryFolder folder;
  std::vector<lora::TensorEntry> entries;
  for (const auto& [name, value] : tensors) entries.push_back(lora::tensor_entry(name, value));
  lora::write_safetensors(folder / "adapters.safetensors", std::move(entries));
  std::ofstream(folder / "adapter_config.json") << config;
  return lora::read_mlx_adapter<float>(folder.path());
}

void put(Tensors& tensors, const std::string& path, const lora::AdapterLayer<float>& layer) {
  tensors[path + ".lora_a"] = transposed(layer.lora_A);
  tensors[path + ".lora_b"] = transposed(layer.lora_B);
}

constexpr const char* kLora =
    R"({"fine_tune_type": "lora", "num_layers": 16, "model": "m", "iters": 100,
        "lora_parameters": {"rank": 3, "scale": 2.5, "dropout": 0.1, "keys": ["q"]}})";
constexpr const char* kDora =
    R"({"fine_tune_type": "dora", "lora_parameters": {"rank": 3, "scale": 20, "dropout": 0}})";

}  // namespace

TEST_CASE("mlx-lm's matrices are transposed, its scale is alpha / r", "[mlx_adapter]") {
  Tensors tensors;
  const auto q = random_layer(7, 5, 3, 2.5, 1), table = random_layer(6, 11, 3, 2.5, 2);
  put(tensors, "model.layers.0.self_attn.q_proj", q);
  put(tensors, "model.embed_tokens", table);
  const AdapterFile<float> file = read(tensors, kLora);
  REQUIRE(file.layers.size() == 2);
  const auto& layer = file.layers.at("model.layers.0.self_attn.q_proj");
  CHECK(same_bits(layer.lora_A, q.lora_A));
  CHECK(same_bits(layer.lora_B, q.lora_B));
  CHECK(layer.scale == 2.5);
  CHECK_FALSE(layer.embedding);
  CHECK(file.layers.at("model.embed_tokens").embedding);
  CHECK(file.config.r == 3);
  CHECK(file.config.lora_alpha == 7.5);
  CHECK(file.config.lora_dropout == 0.1);
  CHECK_FALSE(file.config.use_dora);
  CHECK(file.config.rank_pattern.empty());
}

TEST_CASE("mlx-lm's DoRA has a magnitude", "[mlx_adapter]") {
  Tensors tensors;
  put(tensors, "a", random_layer(7, 5, 3, 20, 1));
  tensors["a.m"] = random_tensor<float>({7}, 2);
  const AdapterFile<float> file = read(tensors, kDora);
  CHECK(file.config.use_dora);
  CHECK(same_bits(file.layers.at("a").magnitude, tensors["a.m"]));
  const TemporaryFolder folder;
  lora::write_adapter_file(folder / "peft", file);
  const auto again = lora::read_adapter_file<float>(folder / "peft");
  CHECK(again.layers.at("a").scale == 20);
}

TEST_CASE("what is no adapter of mlx-lm's is refused", "[mlx_adapter][errors]") {
  Tensors good;
  put(good, "a", random_layer(7, 5, 3, 1, 1));
  const auto refuse = [](const Tensors& tensors, const std::string& config,
                         const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(read(tensors, config), FileError);
    CHECK_THROWS_WITH(read(tensors, config), contains(why));
  };
  const auto with = [&](const std::string& key, Tensor<float> value) {
    Tensors tensors = good;
    tensors[key] = std::move(value);
    return tensors;
  };
  refuse({}, kLora, "there is no lora_a");
  refuse(good, kDora, "a has no m");
  refuse(with("a.m", Tensor<float>({7})), kLora, "fine_tune_type is not dora");
  refuse(with("a.m", Tensor<float>({5})), kDora, "a.m has 5 elements, expected 7");
  refuse(with("a.bias", Tensor<float>({7})), kLora, "a.bias is unexpected");
  refuse(with("lora_a", Tensor<float>({7, 1})), kLora, "lora_a is unexpected");
  refuse(with("b.lora_a", Tensor<float>({8, 3, 5})), kLora, "3 sizes, expected a matrix");
  refuse(with("b.lora_a", Tensor<float>({5, 3})), kLora, "b has no lora_b");
  refuse(with("b.lora_b", Tensor<float>({5, 3})), kLora, "b has no lora_a");
  refuse(with("a.lora_b", Tensor<float>({2, 7})), kLora, "lora_b of rank 2");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refuse(with("a.lora_b", Tensor<float>({1, 1}, {nan})), kLora, "a.lora_b is not finite");
  Tensors table;
  put(table, "wte", random_layer(7, 5, 3, 1, 1));
  table["wte.m"] = Tensor<float>({5});
  refuse(table, kDora, "wte is an embedding with DoRA");

  refuse(good, "{", "expected valid JSON");
  refuse(good, "{}", "there are no lora_parameters");
  refuse(good, R"({"fine_tune_type": "full"})", "fine_tune_type is \"full\"");
  refuse(good, R"({"lora_parameters": {"rank": 3}})", "has no number scale");
  refuse(good, R"({"lora_parameters": {"scale": "1"}})", "has no number scale");
  refuse(good, R"({"lora_parameters": {"scale": 1, "alpha": 16}})", "has an alpha");
  refuse(good, R"({"lora_parameters": {"scale": 1, "dropout": 1}})", "dropout is 1");
  refuse(good, std::string(1 << 21, ' '), "expected at most 1 MiB");
}
