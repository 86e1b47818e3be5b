// SPDX-License-Identifier: MIT
#include <lora/io/safetensors.hpp>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "support/malformed_safetensors.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using namespace lora_test::safetensors;
using lora::FileError;
using lora::SafetensorsFile;

namespace {

std::filesystem::path put(const TemporaryFolder& folder, const std::string& content) {
  std::ofstream(folder / "file.safetensors", std::ios::binary) << content;
  return folder / "file.safetensors";
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a malformed safetensors file is refused", "[safetensors][errors]") {
  const TemporaryFolder folder;
  for (const CraftedFile& file : malformed_safetensors()) {
    INFO(file.name);
    const auto path = put(folder, file.content());
    CHECK_THROWS_AS(SafetensorsFile(path), FileError);
    CHECK_THROWS_WITH(SafetensorsFile(path), contains("file.safetensors: "));
  }
}

TEST_CASE("what is no regular file is no safetensors file", "[safetensors][errors]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(SafetensorsFile(folder / "nothing"), contains("there is no such file"));
  CHECK_THROWS_WITH(SafetensorsFile(folder.path()), contains("expected a regular file"));
  CHECK_THROWS_WITH(SafetensorsFile("/dev/zero"), contains("expected a regular file"));
}

TEST_CASE("odd but valid safetensors files are read", "[safetensors]") {
  const TemporaryFolder folder;
  for (const CraftedFile& file : odd_safetensors()) {
    INFO(file.name);
    CHECK_NOTHROW(SafetensorsFile(put(folder, file.content())));
  }
  const SafetensorsFile scalar(put(folder, with_header(one("F32", "[]", "[0,4]"), 4)));
  CHECK(scalar.read<float>("a").shape() == Shape{});
  const SafetensorsFile none(put(folder, with_header(one("F32", "[0,5]", "[0,0]"), 0)));
  CHECK(none.read<float>("a").shape() == Shape{0, 5});
  const SafetensorsFile unicode(put(
      folder,
      with_header("{\"\\u00e9\\ud83d\\ude00\xc3\xa9\":" + one("U8", "[1]", "[0,1]").substr(5), 1)));
  CHECK(unicode.tensors().count("\xc3\xa9\xf0\x9f\x98\x80\xc3\xa9") == 1);
  const SafetensorsFile metadata(
      put(folder, with_header("{ \"__metadata__\" : { \"a\" : \"b\\n\" } , " +
                                  one("BF16", "[ 1 , 2 ]", "[ 0 , 4 ]").substr(1),
                              4)));
  CHECK(metadata.metadata().at("a") == "b\n");
  CHECK(metadata.tensors().at("a").dtype == "BF16");
}

TEST_CASE("tensors survive a round trip bit for bit", "[safetensors]") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  Tensor<float> x({2, 3}, {1, -0.0f, NAN, INFINITY, 1e-45f, 3});
  const auto y = random_tensor<double>({5}, 1);
  const Tensor<std::int32_t> z({1, 2, 2}, {-1, 2, -3, 4});
  lora::write_safetensors(path,
                          {lora::tensor_entry("x", x), lora::tensor_entry("y", y),
                           lora::tensor_entry("z \"quoted\"\t", z)},
                          {{"format", "pt"}});
  const SafetensorsFile file(path);
  CHECK(same_bits(file.read<float>("x"), x));
  CHECK(same_bits(file.read<double>("y"), y));
  CHECK(same_bits(file.read<std::int32_t>("z \"quoted\"\t"), z));
  CHECK(file.metadata().at("format") == "pt");
}

TEST_CASE("reading asks for the right name, type and rank", "[safetensors][errors]") {
  const TemporaryFolder folder;
  const SafetensorsFile file(put(folder, with_header(one("F32", "[1,1,1,1,1]", "[0,4]"), 4)));
  CHECK_THROWS_WITH(file.read<float>("b"), contains("there is no tensor \"b\""));
  CHECK_THROWS_WITH(file.read<double>("a"), contains("tensor \"a\" is F32, expected F64"));
  CHECK_THROWS_WITH(file.read<float>("a"), contains("expected at most 4 sizes"));
}

TEST_CASE("the study's adapter file has PEFT's bytes", "[safetensors]") {
  const TemporaryFolder folder;
  const index_t sizes[] = {784, 1000, 1500, 1300, 10};
  std::vector<Tensor<float>> tensors;
  std::vector<lora::TensorEntry> entries;
  for (std::size_t i = 0; i < 4; ++i) {
    tensors.emplace_back(Shape{1, sizes[i]});
    tensors.emplace_back(Shape{sizes[i + 1], 1});
  }
  for (std::size_t i = 0; i < 8; ++i) {
    const std::string name = "base_model.model.fc" + std::to_string(i / 2 + 1) +
                             (i % 2 ? ".lora_B.weight" : ".lora_A.weight");
    entries.push_back(lora::tensor_entry(name, tensors[i]));
  }
  lora::write_safetensors(folder / "a", entries, {{"format", "pt"}});
  const std::string bytes = read_all(folder / "a");
  CHECK(bytes.size() == 34400);
  CHECK(bytes.substr(0, 8) == length_bytes(816));
  CHECK(bytes.substr(8).starts_with(
      "{\"__metadata__\":{\"format\":\"pt\"},\"base_model.model.fc1.lora_A.weight\":{\"dtype\":"
      "\"F32\",\"shape\":[1,784],\"data_offsets\":[0,3136]},"));
  CHECK(bytes.substr(8 + 812, 4) == "}   ");
}

TEST_CASE("the order of the tensors given does not matter", "[safetensors]") {
  const TemporaryFolder folder;
  const Tensor<float> x({2}, {1, 2});
  const Tensor<double> y({2}, {3, 4});
  const auto a = lora::tensor_entry("a", x), b = lora::tensor_entry("b", y),
             c = lora::tensor_entry("c", x);
  lora::write_safetensors(folder / "1", {a, b, c});
  lora::write_safetensors(folder / "2", {c, b, a});
  CHECK(read_all(folder / "1") == read_all(folder / "2"));
  CHECK(SafetensorsFile(folder / "1").tensors().at("b").begin == 0);
}
