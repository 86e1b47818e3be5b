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

TEST_CASE("tensors of 16 bits and of 64 are read as floats", "[safetensors]") {
  const TemporaryFolder folder;
  const std::uint16_t halves[] = {0x3C00, 0xC000, 0x0001}, brains[] = {0x3F80, 0xC000, 0x0001};
  const double doubles[] = {1, -2, 0x1p-40};
  const std::int32_t integers[] = {1, 2, 3};
  const auto bytes_of = [](const auto& values) { return std::as_bytes(std::span(values)); };
  lora::write_safetensors(folder / "a", {{"f16", "F16", {3}, bytes_of(halves)},
                                         {"bf16", "BF16", {3, 1}, bytes_of(brains)},
                                         {"f64", "F64", {1, 3}, bytes_of(doubles)},
                                         {"i32", "I32", {3}, bytes_of(integers)}});
  const SafetensorsFile file(folder / "a");
  CHECK(same_bits(file.read_as<float>("f16"), Tensor<float>({3}, {1, -2, 0x1p-24f})));
  CHECK(same_bits(file.read_as<float>("bf16"), Tensor<float>({3, 1}, {1, -2, 0x1p-133f})));
  CHECK(same_bits(file.read_as<float>("f64"), Tensor<float>({1, 3}, {1, -2, 0x1p-40f})));
  CHECK(same_bits(file.read_as<double>("f16"), Tensor<double>({3}, {1, -2, 0x1p-24})));
  CHECK(same_bits(file.read_as<double>("f64"), file.read<double>("f64")));
  CHECK_THROWS_WITH(file.read_as<float>("i32"), contains("\"i32\" is I32, expected F64, F32"));
  CHECK_THROWS_WITH(file.read_as<float>("x"), contains("there is no tensor \"x\""));
}

TEST_CASE("a tensor's bytes are those of the file, also after their memory is released",
          "[safetensors]") {
  const TemporaryFolder folder;
  const auto x = random_tensor<float>({300, 70}, 1);
  lora::write_safetensors(folder / "a", {lora::tensor_entry("x", x)});
  const SafetensorsFile file(folder / "a");
  const auto is_x = [&] {
    const auto bytes = file.bytes("x"), expected = std::as_bytes(x.span());
    return std::equal(bytes.begin(), bytes.end(), expected.begin(), expected.end());
  };
  CHECK(is_x());
  lora::MappedBytes::release(file.bytes("x"));
  CHECK(is_x());
  const std::string all = read_all(folder / "a");
  const auto header = file.header();
  CHECK(std::string(reinterpret_cast<const char*>(header.data()), header.size()) ==
        all.substr(0, all.size() - x.span().size_bytes()));
}

TEST_CASE("a tensor of more sizes than PyTorch has is refused", "[safetensors][errors]") {
  const TemporaryFolder folder;
  const auto ones = [](int count) {
    std::string shape = "[1";
    for (int i = 1; i < count; ++i) shape += ",1";
    return shape + "]";
  };
  CHECK(SafetensorsFile(put(folder, with_header(one("F32", ones(64), "[0,4]"), 4)))
            .info("a")
            .shape.size() == 64);
  CHECK_THROWS_WITH(SafetensorsFile(put(folder, with_header(one("F32", ones(65), "[0,4]"), 4))),
                    contains("more than 64 sizes"));
}
