// SPDX-License-Identifier: MIT
#include <lora/io/merge_files.hpp>

#include <filesystem>
#include <set>
#include <string>

#include "support/merge_model.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using Adapter = lora::AdapterFile<float>;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  Fixture() {
    base.add("model.a.weight", "F32", random_tensor<double>({4, 6}, 1));
    base.add("model.a.bias", "F32", random_tensor<double>({4}, 2));
    base.add("model.b.weight", "F16", random_tensor<double>({4, 6}, 3));
    base.add("model.codes.weight", "I8", {4, 6}, std::vector<std::byte>(24));
    base.write(folder / "base.safetensors");
    adapter.layers["model.a"] = random_layer(4, 6, 2, 1, 4);
  }

  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
      names.insert(entry.path());
    }
    return names;
  }

  // And nothing is written.
  void refuse(const std::string& why, const std::string& base_name = "base.safetensors",
              const std::string& out = "out.safetensors") {
    const auto before = files();
    CHECK_THROWS_AS(merge(base_name, out), lora::FileError);
    CHECK_THROWS_WITH(merge(base_name, out), contains(why));
    CHECK(files() == before);
  }

  void merge(const std::string& base_name = "base.safetensors",
             const std::string& out = "out.safetensors") {
    lora::merge_adapter_files<float>(folder / base_name, adapter, folder / out,
                                     {.prefix = prefix, .piece_bytes = 48});
  }

  WeightFile base;
  Adapter adapter;
  std::string prefix;
  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("layers without a tensor are listed, all of them", "[merge][errors]") {
  Fixture f;
  f.adapter.layers["model.x"] = random_layer(4, 6, 2, 1, 4);
  f.adapter.layers["y"] = random_layer(4, 6, 2, 1, 4);
  f.adapter.replaced["head.weight"] = Tensor<float>({2, 2});
  f.refuse("there is no head.weight, model.x.weight, y.weight, which the adapter changes");
  f.refuse("every name there begins with \"model.\"");
}

TEST_CASE("a prefix that would help is named, and helps", "[merge][errors]") {
  Fixture f;
  f.adapter.layers.clear();
  f.adapter.layers["a"] = random_layer(4, 6, 2, 1, 4);
  f.adapter.layers["b"] = random_layer(4, 6, 2, 1, 5);
  f.adapter.layers["a"].lora_B_bias = Tensor<float>({4}, {1, 1, 1, 1});
  f.refuse("with the prefix \"model.\" all of it is there");
  f.prefix = "model.";
  f.merge();
  const lora::SafetensorsFile before(f.folder / "base.safetensors");
  const lora::SafetensorsFile after(f.folder / "out.safetensors");
  for (const char* name : {"model.a.weight", "model.a.bias", "model.b.weight"}) {
    CHECK(!same_bits(after.read_as<double>(name), before.read_as<double>(name)));
  }
  f.prefix = "mode.";
  f.refuse("there is no mode.a.weight, mode.a.bias, mode.b.weight");
}

TEST_CASE("what does not fit is listed with both shapes", "[merge][errors]") {
  Fixture f;
  f.adapter.layers["model.a"] = random_layer(6, 4, 2, 1, 4);
  f.adapter.layers["model.codes"] = random_layer(4, 6, 2, 1, 5);
  f.adapter.replaced["model.a.bias"] = Tensor<float>({3});
  f.refuse("model.a.weight has shape [4,6], the adapter's needs [6,4]");
  f.refuse("model.codes.weight is I8, expected F64, F32, F16 or BF16");
  f.refuse("model.a.bias has shape [4], the adapter's needs [3]");
  f.adapter = {};
  f.adapter.config.fan_in_fan_out = true;
  f.adapter.layers["model.a"] = random_layer(4, 6, 2, 1, 4);
  f.refuse("with fan_in_fan_out needs [6,4]");
  f.adapter.layers["model.a"].embedding = true;
  f.refuse("of an embedding needs [6,4]");
  f.adapter.layers["model.a"] = random_layer(4, 6, 2, 1, 4);
  f.adapter.layers["model.a"].lora_A.reshape({2, 2, 3, 1});
  f.adapter.layers["model.a"].lora_B = Tensor<float>({4, 1, 1, 1});
  f.refuse("model.a is a convolution of several groups");
}

TEST_CASE("lora_bias needs a bias in the base", "[merge][errors]") {
  Fixture f;
  f.adapter.layers["model.b"] = random_layer(4, 6, 2, 1, 4);
  f.adapter.layers["model.b"].lora_B_bias = Tensor<float>({4});
  f.refuse("there is no model.b.bias");
}

TEST_CASE("a failure in the middle leaves nothing", "[merge][errors]") {
  Fixture f;
  lora::make_folder(f.folder / "sharded");
  lora::write_safetensors_model(f.folder / "sharded", f.base.entries(), 100);
  f.adapter.layers["model.b"] = random_layer(4, 6, 2, 1e6, 5);
  f.refuse("model.b.weight would not be finite, in F16");
  f.refuse("model.b.weight would not be finite, in F16", "sharded", "out");
  f.adapter.layers.erase("model.b");
  f.adapter.replaced["model.b.weight"] = Tensor<float>({4, 6});
  f.adapter.replaced["model.b.weight"][23] = 1e6f;
  f.refuse("model.b.weight would not be finite, in F16", "sharded", "out");
  f.adapter.replaced["model.b.weight"][23] = 1;
  f.merge("sharded", "out");
  CHECK(fs::exists(f.folder / "out/model.safetensors.index.json"));
}

TEST_CASE("the base is never written over", "[merge][errors]") {
  Fixture f;
  f.refuse("is a file of the base", "base.safetensors", "base.safetensors");
  fs::create_symlink("base.safetensors", f.folder / "link");
  f.refuse("is a file of the base", "base.safetensors", "link");
  f.refuse("is a file of the base", "link", "base.safetensors");
  fs::create_hard_link(f.folder / "base.safetensors", f.folder / "hard");
  f.refuse("is a file of the base", "base.safetensors", "hard");
  lora::make_folder(f.folder / "sharded");
  lora::write_safetensors_model(f.folder / "sharded", f.base.entries(), 100);
  fs::create_directory_symlink("sharded", f.folder / "linked");
  f.refuse("is a file of the base", "sharded", "linked");
  f.refuse("is a file of the base", "sharded/model.safetensors.index.json", "sharded");
}

TEST_CASE("a folder does not get two models", "[merge][errors]") {
  Fixture f;
  for (const char* name : {"sharded", "single", "out"}) lora::make_folder(f.folder / name);
  lora::write_safetensors_model(f.folder / "sharded", f.base.entries(), 100);
  lora::write_safetensors_model(f.folder / "single", f.base.entries());
  f.merge("single", "out");
  f.refuse("model.safetensors: is there already", "sharded", "out");
  f.merge("sharded", "out2");
  f.refuse("model.safetensors.index.json: is there already", "single", "out2");
  f.refuse("expected a regular file", "base.safetensors", "out");
  f.refuse("there is no such file", "nothing", "out3");
  f.refuse("cannot be made", "sharded", "base.safetensors");
}
