// SPDX-License-Identifier: MIT
#include <lora/io/safetensors_model.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::FileError;
using lora::SafetensorsModel;

namespace {

struct Tensors {
  Tensor<float> a = random_tensor<float>({3, 4}, 1), b = random_tensor<float>({2, 2}, 2);
  Tensor<double> c = random_tensor<double>({5}, 3);

  std::vector<lora::TensorEntry> entries() const {
    return {lora::tensor_entry("b", b), lora::tensor_entry("a", a), lora::tensor_entry("c", c)};
  }
};

void put(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string index(const std::string& weight_map) {
  return "{\"metadata\":{\"total_size\":1,\"x\":[[],{}]},\"weight_map\":{" + weight_map + "}}";
}

}  // namespace

TEST_CASE("a small model is one file, a large one shards with an index", "[safetensors_model]") {
  const Tensors tensors;
  const TemporaryFolder folder;
  const std::size_t limit = GENERATE(std::size_t{1000}, std::size_t{88}, std::size_t{1});
  INFO("at most " << limit << " bytes in a shard");
  lora::write_safetensors_model(folder.path(), tensors.entries(), limit);
  const SafetensorsModel model(folder.path());
  CHECK(model.files().size() == (limit == 1000 ? 1 : limit == 88 ? 2 : 3));
  CHECK(model.index_path().empty() == (limit == 1000));
  CHECK(model.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(same_bits(model.find("a")->read<float>("a"), tensors.a));
  CHECK(same_bits(model.find("b")->read<float>("b"), tensors.b));
  CHECK(same_bits(model.find("c")->read<double>("c"), tensors.c));
  CHECK(model.find("d") == nullptr);
  if (limit == 1000) return;
  const SafetensorsModel by_index(folder / SafetensorsModel::kIndexName);
  CHECK(by_index.names() == model.names());
}

TEST_CASE("an index that does not fit its files is refused", "[safetensors_model][errors]") {
  const Tensors tensors;
  const TemporaryFolder folder;
  lora::write_safetensors(folder / "1.safetensors", {tensors.entries()[0]});
  lora::write_safetensors(folder / "2.safetensors", {tensors.entries()[1]});
  const auto refuse = [&](const std::string& text, const std::string& why) {
    INFO(text);
    put(folder / "index.json", text);
    CHECK_THROWS_AS(SafetensorsModel(folder / "index.json"), FileError);
    CHECK_THROWS_WITH(SafetensorsModel(folder / "index.json"), contains(why));
  };
  put(folder / "index.json", index("\"a\":\"2.safetensors\",\"b\":\"1.safetensors\""));
  CHECK(SafetensorsModel(folder / "index.json").names().size() == 2);

  refuse(index("\"a\":\"1.safetensors\",\"b\":\"1.safetensors\""), "\"a\" is not in 1.safetensors");
  refuse(index("\"b\":\"1.safetensors\",\"x\":\"1.safetensors\""), "\"x\" is not in 1.safetensors");
  refuse(index("\"a\":\"3.safetensors\""), "there is no such file");
  refuse(index("\"a\":\"2.safetensors\",\"a\":\"2.safetensors\""), "\"a\" twice");
  for (const char* name : {"../2.safetensors", "/2.safetensors", "a/b", "", "..", "a\\u0000b"}) {
    refuse(index("\"a\":\"" + std::string(name) + "\""),
           "expected the name of a file beside the index");
  }
  refuse("", "expected '{'");
  refuse("[]", "expected '{'");
  refuse("{}", "no weight_map");
  refuse("{\"weight_map\":{\"a\":1}}", "expected '\"'");
  refuse(index("") + "x", "expected the end");
  refuse("{\"weight_map\":{},\"weight_map\":{}}", "a second weight_map");
  refuse("{\"x\":" + std::string(200000, '['), "brackets open");
  refuse("{\"x\":[1,]}", "expected a value");
  refuse("{\"x\":{\"a\" 1}}", "expected ':'");
  refuse("{\"x\":01}", "expected a value");
  refuse("{\"x\":1.}", "expected a digit");
  refuse("{\"x\":[1}", "expected ']'");

  lora::write_safetensors(folder / "2.safetensors", {tensors.entries()[0], tensors.entries()[1]});
  refuse(index("\"a\":\"2.safetensors\",\"b\":\"1.safetensors\""), "too");
  lora::write_safetensors(folder / "2.safetensors", {tensors.entries()[1], tensors.entries()[2]});
  refuse(index("\"a\":\"2.safetensors\",\"b\":\"1.safetensors\""), "\"c\" of");
}

TEST_CASE("an index may say more than is needed", "[safetensors_model]") {
  const Tensors tensors;
  const TemporaryFolder folder;
  lora::write_safetensors(folder / "1", {tensors.entries()[0]});
  put(folder / "i.json",
      "{\"x\":[{\"a\":[]},-1.5e+3,true,false,null,\"s\",{}],\"weight_map\":{\"b\":\"1\"}}\n");
  CHECK(SafetensorsModel(folder / "i.json").names() == std::vector<std::string>{"b"});
}

TEST_CASE("a folder with a model and an index is refused", "[safetensors_model][errors]") {
  const Tensors tensors;
  const TemporaryFolder folder;
  lora::write_safetensors_model(folder.path(), tensors.entries());
  lora::write_safetensors_model(folder.path(), tensors.entries(), 1);
  CHECK_THROWS_WITH(SafetensorsModel(folder.path()), contains("name one of them"));
}
