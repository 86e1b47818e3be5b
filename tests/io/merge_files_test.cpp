// SPDX-License-Identifier: MIT
#include <lora/io/merge_files.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <lora/threads.hpp>

#include "support/merge_model.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using Adapter = lora::AdapterFile<float>;

namespace {

struct Sizes {
  index_t out, in, r;
};

const std::vector<Sizes> kSizes{{1, 1, 1},     {7, 5, 3},   {13, 67, 16}, {24, 128, 2},
                                {100, 131, 5}, {12, 64, 1}, {31, 1, 4},   {1, 200, 8}};

std::string layer_name(std::size_t i) { return "layers." + std::to_string(i) + ".proj"; }

// Tensors that no adapter changes, of types that nothing is computed with, among those that one
// does.
void add_others(WeightFile& file) {
  const auto bytes = [](std::size_t count) {
    std::vector<std::byte> all(count);
    for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<std::byte>(37 * i + 11);
    return all;
  };
  file.add("layers.0.norm.weight", "F8_E4M3", {29}, bytes(29));
  file.add("layers.3.position_ids", "I64", {1, 5}, bytes(40));
  file.add("layers.4.mask", "BOOL", {3, 3}, bytes(9));
  file.add("layers.5.scale", "U8", {}, bytes(1));
  file.add("layers.6.empty", "F32", {0, 4}, {});
  file.add("layers.7.inv_freq", "F64", {2}, bytes(16));
  file.add("lm_head.weight", "BF16", {4000}, bytes(8000));
}

// A model with an adapter on every matrix, and the same with it merged. Whole numbers, so that all
// sums are exact and rounding to the stored type is all there is.
struct WholeNumbers {
  explicit WholeNumbers(const std::string& dtype) {
    add_others(base);
    add_others(merged);
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
      const auto [out, in, r] = kSizes[i];
      const auto layer = random_layer(out, in, r, 2.5, 10 * i, true);
      const auto w = random_integers<double>({out, in}, 10 * i + 5, 100);
      base.add(layer_name(i) + ".weight", dtype, w);
      merged.add(layer_name(i) + ".weight", dtype, sum(w, update_of(layer)));
      adapter.layers[layer_name(i)] = layer;
    }
  }

  WeightFile base, merged;
  Adapter adapter;
};

std::size_t files_in(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    count += !entry.is_directory();
  }
  return count;
}

}  // namespace

TEST_CASE("a merge is exact and rounds once; all else is copied", "[merge]") {
  const std::string dtype = GENERATE("F64", "F32", "F16", "BF16");
  const std::size_t piece = GENERATE(std::size_t{1}, std::size_t{700}, std::size_t{1} << 20);
  INFO(dtype << ", pieces of " << piece << " bytes");
  const WholeNumbers model(dtype);
  const TemporaryFolder folder;
  model.base.write(folder / "base.safetensors");
  model.merged.write(folder / "expected.safetensors");
  const ThreadCountGuard guard;
  for (const int threads : {1, 2, 3}) {
    INFO(threads << " threads");
    lora::set_num_threads(threads);
    std::uint64_t told = 0, all = 0;
    const auto result = lora::merge_adapter_files<float>(
        folder / "base.safetensors", model.adapter, folder / "out.safetensors",
        {.piece_bytes = piece}, [&](std::uint64_t done, std::uint64_t of) {
          told = done;
          all = of;
        });
    CHECK(same_files(folder / "out.safetensors", folder / "expected.safetensors"));
    CHECK(result.files == std::vector<std::string>{folder / "out.safetensors"});
    CHECK(result.changed == kSizes.size());
    CHECK(result.copied == 7);
    CHECK(result.replaced == 0);
    CHECK(result.bytes == file_bytes(folder / "base.safetensors").size());
    CHECK(told == result.bytes);
    CHECK(all == result.bytes);
  }
}

TEST_CASE("random numbers merge to the bit on any number of threads", "[merge]") {
  const std::string dtype = GENERATE("F32", "BF16");
  const bool is_dora = GENERATE(false, true);
  INFO(dtype << (is_dora ? " with DoRA" : ""));
  WeightFile base;
  base.add("a.weight", dtype, random_tensor<double>({150, 333}, 1));
  base.add("e.weight", dtype, random_tensor<double>({150, 70}, 2));
  Adapter adapter;
  adapter.layers["a"] = random_layer(150, 333, 7, 0.3, 3);
  adapter.layers["e"] = random_layer(70, 150, 7, 0.3, 5);
  adapter.layers["e"].embedding = true;
  if (is_dora) {
    adapter.layers["a"].magnitude = random_tensor<float>({150}, 7);
    adapter.layers["e"].magnitude = random_tensor<float>({70}, 8);
  }
  const TemporaryFolder folder;
  base.write(folder / "base.safetensors");
  const ThreadCountGuard guard;
  std::string first;
  for (const int threads : {1, 2, 3}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{5000}, std::size_t{1} << 20}) {
      INFO(threads << " threads, pieces of " << piece);
      lora::set_num_threads(threads);
      lora::merge_adapter_files<float>(folder / "base.safetensors", adapter,
                                       folder / "out.safetensors", {.piece_bytes = piece});
      const std::string bytes = file_bytes(folder / "out.safetensors");
      if (first.empty()) first = bytes;
      CHECK((bytes == first));
    }
  }
}

TEST_CASE("shards keep their names and their index", "[merge]") {
  const WholeNumbers model("BF16");
  const TemporaryFolder folder;
  const bool by_index = GENERATE(false, true);
  for (const char* name : {"base", "expected"}) lora::make_folder(folder / name);
  lora::write_safetensors_model(folder / "base", model.base.entries(), 9000);
  lora::write_safetensors_model(folder / "expected", model.merged.entries(), 9000);
  const std::string base =
      by_index ? folder / "base/model.safetensors.index.json" : folder / "base";
  const auto result = lora::merge_adapter_files<float>(base, model.adapter, folder / "new/out");
  CHECK(result.files.size() == files_in(folder / "base"));
  CHECK(result.files == lora::merged_files(base, folder / "new/out"));
  REQUIRE(result.files.size() > 3);
  CHECK(files_in(folder / "new") == result.files.size());
  for (const std::string& file : result.files) {
    INFO(file);
    const std::string name = file.substr(file.rfind('/') + 1);
    CHECK(same_files(file, folder / ("expected/" + name)));
  }
}

TEST_CASE("a folder with one file is merged into a folder", "[merge]") {
  const WholeNumbers model("F16");
  const TemporaryFolder folder;
  lora::make_folder(folder / "base");
  model.base.write(folder / "base/model.safetensors");
  model.merged.write(folder / "expected.safetensors");
  lora::merge_adapter_files<float>(folder / "base", model.adapter, folder / "out/");
  CHECK(same_files(folder / "out/model.safetensors", folder / "expected.safetensors"));
}

TEST_CASE("what came whole with the adapter takes the base's place", "[merge]") {
  const std::string dtype = GENERATE("F32", "F16", "BF16", "F64");
  INFO(dtype);
  const auto w = random_integers<double>({6, 9}, 1), bias = random_integers<double>({6}, 2);
  const auto head = random_tensor<double>({50, 40}, 3);
  const auto layer = random_layer(6, 9, 2, 0.5, 4, true);
  Adapter adapter;
  adapter.layers["a"] = layer;
  adapter.layers["a"].lora_B_bias = random_integers<float>({6}, 6);
  adapter.replaced["a.weight"] = random_integers<float>({6, 9}, 7);
  adapter.replaced["a.bias"] = random_integers<float>({6}, 8);
  adapter.replaced["head.weight"] = random_tensor<float>({50, 40}, 9);
  WeightFile base, merged;
  base.add("a.weight", dtype, w);
  base.add("a.bias", dtype, bias);
  base.add("head.weight", dtype, head);
  const auto replaced = [&](const char* name) {
    return convert<double>(adapter.replaced.at(name));
  };
  Tensor<double> bias_change = convert<double>(adapter.layers["a"].lora_B_bias);
  for (double& x : bias_change.span()) x *= 0.5;
  merged.add("a.weight", dtype, sum(replaced("a.weight"), update_of(layer)));
  merged.add("a.bias", dtype, sum(replaced("a.bias"), bias_change));
  merged.add("head.weight", dtype, replaced("head.weight"));
  const TemporaryFolder folder;
  base.write(folder / "base.safetensors");
  merged.write(folder / "expected.safetensors");
  const std::size_t piece = GENERATE(std::size_t{100}, std::size_t{1} << 20);
  const auto result = lora::merge_adapter_files<float>(
      folder / "base.safetensors", adapter, folder / "out.safetensors", {.piece_bytes = piece});
  CHECK(same_files(folder / "out.safetensors", folder / "expected.safetensors"));
  CHECK(result.changed == 2);
  CHECK(result.replaced == 3);
  CHECK(result.copied == 0);
}

TEST_CASE("an adapter in double is merged without loss", "[merge]") {
  lora::AdapterFile<double> adapter;
  adapter.layers["a"].lora_A = Tensor<double>({1, 2}, {1 + 0x1p-40, 3});
  adapter.layers["a"].lora_B = Tensor<double>({1, 1}, {1});
  adapter.layers["a"].scale = 1;
  WeightFile base, merged;
  base.add("a.weight", "F64", Tensor<double>({1, 2}, {1, 1}));
  merged.add("a.weight", "F64", Tensor<double>({1, 2}, {2 + 0x1p-40, 4}));
  const TemporaryFolder folder;
  base.write(folder / "base.safetensors");
  merged.write(folder / "expected.safetensors");
  lora::merge_adapter_files<double>(folder / "base.safetensors", adapter,
                                    folder / "out.safetensors");
  CHECK(same_files(folder / "out.safetensors", folder / "expected.safetensors"));
}
