// SPDX-License-Identifier: MIT
#include <lora/io/adapter_file.hpp>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::AdapterFile;
using lora::FileError;
using lora::index_t;

namespace {

const std::string kGolden = LORA_GOLDEN_DIR "/peft/";

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

AdapterFile<float> small_adapter() {
  AdapterFile<float> adapter;
  adapter.config.r = 2;
  adapter.config.target_modules = std::vector<std::string>{"a"};
  adapter.layers["x.a"].lora_A = random_tensor<float>({2, 5}, 1);
  adapter.layers["x.a"].lora_B = random_tensor<float>({3, 2}, 2);
  return adapter;
}

}  // namespace

TEST_CASE("what PEFT has saved is read and written again byte for byte", "[adapter_file]") {
  const std::string name = GENERATE("plain", "rslora", "dora", "patterns", "embedding", "conv2d",
                                    "lora_bias", "modules_to_save", "bias_all", "bias_lora_only");
  INFO(name);
  const TemporaryFolder folder;
  const auto adapter = lora::read_adapter_file<float>(kGolden + name);
  lora::write_adapter_file(folder / "new/folder", adapter);
  CHECK(read_all(folder / "new/folder/adapter_model.safetensors") ==
        read_all(kGolden + name + "/adapter_model.safetensors"));
  const auto again = lora::read_adapter_file<float>(folder / "new/folder");
  CHECK(to_json(again.config) == to_json(adapter.config));
  REQUIRE(again.layers.size() == adapter.layers.size());
  for (const auto& [path, layer] : adapter.layers) {
    INFO(path);
    CHECK(again.layers.at(path).scale == layer.scale);
  }
}

TEST_CASE("each layer has the rank and the scale that its patterns say", "[adapter_file]") {
  const auto adapter = lora::read_adapter_file<float>(kGolden + "patterns");
  const lora::PeftMatcher matcher(adapter.config);
  REQUIRE(adapter.layers.size() > 1);
  for (const auto& [path, layer] : adapter.layers) {
    INFO(path);
    CHECK(layer.rank() == matcher.rank(path));
    CHECK(layer.lora_alpha == matcher.alpha(path));
    CHECK(layer.scale == matcher.alpha(path) / matcher.rank(path));
  }
}

TEST_CASE("an adapter in 16 bits is read as floats", "[adapter_file]") {
  for (const char* name : {"bfloat16", "float16"}) {
    INFO(name);
    const auto adapter = lora::read_adapter_file<float>(kGolden + name);
    const lora::SafetensorsFile file(kGolden + name + "/adapter_model.safetensors");
    const auto& [path, layer] = *adapter.layers.begin();
    CHECK(same_bits(layer.lora_A,
                    file.read_as<float>("base_model.model." + path + ".lora_A.weight")));
  }
}

TEST_CASE("an adapter's file that does not fit its configuration lists everything",
          "[adapter_file][errors]") {
  const TemporaryFolder folder;
  auto adapter = small_adapter();
  const auto refuse = [&](const std::string& why) {
    INFO(why);
    lora::write_adapter_file(folder.path(), adapter);
    CHECK_THROWS_AS(lora::read_adapter_file<float>(folder.path()), FileError);
    CHECK_THROWS_WITH(lora::read_adapter_file<float>(folder.path()), contains(why));
    adapter = small_adapter();
  };
  lora::write_adapter_file(folder.path(), adapter);
  CHECK(lora::read_adapter_file<float>(folder.path()).layers.size() == 1);

  adapter.config.r = 3;
  refuse("x.a.lora_A has shape (2, 5), expected rank 3");
  adapter.layers["x.a"].lora_B = {};
  refuse("missing x.a.lora_B");
  adapter.layers["x.a"].lora_A = {};
  refuse("missing x.a.lora_A");
  std::swap(adapter.layers["x.a"].lora_A, adapter.layers["x.a"].lora_B);
  refuse("x.a.lora_A has shape (3, 2), expected rank 2; x.a.lora_B has shape (2, 5)");
  adapter.layers["y"] = adapter.layers["x.a"];
  refuse("unexpected base_model.model.y.lora_A.weight; unexpected base_model.model.y.lora_B");
  adapter.replaced["head.weight"] = random_tensor<float>({2}, 1);
  refuse("unexpected base_model.model.head.weight");
  adapter.replaced["x.a.bias"] = random_tensor<float>({3}, 1);
  refuse("unexpected base_model.model.x.a.base_layer.bias");
  adapter.config.use_dora = true;
  refuse("x.a has no lora_magnitude_vector");
  adapter.layers["x.a"].magnitude = random_tensor<float>({3}, 1);
  refuse("has a lora_magnitude_vector without use_dora");
  adapter.config.use_dora = true;
  adapter.layers["x.a"].magnitude = random_tensor<float>({4}, 1);
  refuse("lora_magnitude_vector has shape (4,), expected 3 elements");
  adapter.layers["x.a"].lora_A[0] = std::numeric_limits<float>::quiet_NaN();
  refuse("lora_A.weight is not finite");
  adapter.config.rank_pattern = {{"a", 2}, {"x.a", 2}};
  refuse("x.a is matched by two entries of rank_pattern");
  adapter.layers.clear();
  adapter.config.modules_to_save = {"head"};
  adapter.replaced["head.weight"] = random_tensor<float>({2}, 1);
  refuse("there is no lora_A");
}
