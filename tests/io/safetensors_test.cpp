// SPDX-License-Identifier: MIT
#include <lora/io/safetensors.hpp>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::FileError;
using lora::SafetensorsFile;

namespace {

std::string length_bytes(std::uint64_t length) {
  return {reinterpret_cast<const char*>(&length), 8};
}

std::filesystem::path put(const TemporaryFolder& folder, const std::string& content) {
  std::ofstream(folder / "file.safetensors", std::ios::binary) << content;
  return folder / "file.safetensors";
}

std::string with_header(const std::string& header, std::size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\1');
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + tensor("a", dtype, shape, offsets) + "}";
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Attack {
  const char* name;
  std::string content;
};

std::vector<Attack> attacks() {
  const std::string big = "18446744073709551615";
  std::string dims = "[1";
  for (int i = 0; i < 100000; ++i) dims += ",2";
  dims += "]";
  std::string overlapping = "{";
  for (int i = 0; i < 1000; ++i) {
    overlapping += (i ? "," : "") + tensor("t" + std::to_string(i), "F32", "[4]", "[0,16]");
  }
  overlapping += "}";
  const std::string good = one("F32", "[2]", "[0,8]");
  return {
      {"empty file", ""},
      {"seven bytes", "1234567"},
      {"header of no bytes", with_header("", 0)},
      {"header longer than the file", length_bytes(1000) + "{}"},
      {"header length 2^64 - 1", length_bytes(~std::uint64_t{0}) + "{}"},
      {"header length 2^64 - 8", length_bytes(~std::uint64_t{7}) + "{}"},
      {"header beyond the cap", length_bytes(200'000'000) + "{}"},
      {"not JSON", with_header("hello", 0)},
      {"array root", with_header("[]", 0)},
      {"single brace", with_header("{", 0)},
      {"byte 0xff", with_header("\xff", 0)},
      {"bad UTF-8 in a name", with_header("{\"\xc3(\":" + good.substr(5), 8)},
      {"overlong UTF-8", with_header("{\"\xc0\xaf\":" + good.substr(5), 8)},
      {"trailing bytes after the JSON", with_header(good + "x", 8)},
      {"second object after the JSON", with_header(good + "{}", 8)},
      {"leading space", with_header(" " + good, 8)},
      {"duplicate key", with_header("{" + tensor("a", "F32", "[2]", "[0,8]") + "," +
                                        tensor("a", "F32", "[2]", "[0,8]") + "}",
                                    8)},
      {"duplicate metadata", with_header("{\"__metadata__\":{},\"__metadata__\":{}}", 0)},
      {"nesting 200,000 deep",
       with_header("{\"a\":" + std::string(200000, '[') + std::string(200000, ']') + "}", 0)},
      {"a million open brackets", with_header("{\"a\":" + std::string(1000000, '['), 0)},
      {"metadata that is no string", with_header("{\"__metadata__\":{\"a\":1}}", 0)},
      {"truncated JSON", with_header(good.substr(0, good.size() - 3), 8)},
      {"unknown dtype", with_header(one("F31", "[2]", "[0,8]"), 8)},
      {"missing dtype", with_header("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8)},
      {"missing shape", with_header("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8)},
      {"shape -1", with_header(one("F32", "[-1]", "[0,8]"), 8)},
      {"shape 1.5", with_header(one("F32", "[1.5]", "[0,6]"), 6)},
      {"shape 1e30", with_header(one("F32", "[1e30]", "[0,8]"), 8)},
      {"shape 02", with_header(one("F32", "[02]", "[0,8]"), 8)},
      {"shape true", with_header(one("F32", "[true]", "[0,4]"), 4)},
      {"shape above 2^64", with_header(one("F32", "[" + big + "9]", "[0,8]"), 8)},
      {"product that wraps to 0", with_header(one("F32", "[4294967296,4294967296]", "[0,0]"), 0)},
      {"product that wraps to 4", with_header(one("F32", "[4611686018427387905]", "[0,4]"), 4)},
      {"a hundred thousand sizes", with_header(one("F32", dims, "[0,8]"), 8)},
      {"shape that does not fill the bytes", with_header(one("F32", "[3]", "[0,8]"), 8)},
      {"offsets reversed", with_header(one("F32", "[2]", "[8,0]"), 8)},
      {"offsets beyond the file", with_header(one("F32", "[2]", "[0,8]"), 4)},
      {"negative offset", with_header(one("F32", "[2]", "[-8,0]"), 8)},
      {"one offset", with_header(one("F32", "[2]", "[8]"), 8)},
      {"three offsets", with_header(one("F32", "[2]", "[0,8,8]"), 8)},
      {"offset 2^64 - 1", with_header(one("F32", "[2]", "[0," + big + "]"), 8)},
      {"offset 4e0", with_header(one("F32", "[1]", "[0,4e0]"), 4)},
      {"overlap", with_header(overlapping, 16)},
      {"hole", with_header("{" + tensor("a", "F32", "[1]", "[0,4]") + "," +
                               tensor("b", "F32", "[1]", "[8,12]") + "}",
                           12)},
      {"hole at the start", with_header(one("F32", "[1]", "[4,8]"), 8)},
      {"bytes at the end", with_header(good, 8) + "PK\3\4"},
      {"truncated data", with_header(good, 7)},
      {"half a byte", with_header(one("F4", "[1]", "[0,0]"), 0)},
      {"control character in a name", with_header("{\"a\n\":" + good.substr(5), 8)},
      {"lone surrogate in a name", with_header("{\"\\ud800\":" + good.substr(5), 8)},
      {"unknown field", with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"
                                    "[0,8],\"x\":1}}",
                                    8)},
  };
}

}  // namespace

TEST_CASE("a malformed safetensors file is refused", "[safetensors][errors]") {
  const TemporaryFolder folder;
  for (const Attack& attack : attacks()) {
    INFO(attack.name);
    const auto path = put(folder, attack.content);
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
  CHECK(SafetensorsFile(put(folder, with_header("{}", 0))).tensors().empty());
  CHECK(SafetensorsFile(put(folder, with_header("{}      ", 0))).tensors().empty());
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
