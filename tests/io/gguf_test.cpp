// SPDX-License-Identifier: MIT
#include <lora/io/gguf.hpp>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/gguf_bytes.hpp"
#include "support/malformed_gguf.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using namespace lora_test::gguf;
using lora::FileError;
using lora::GgufFile;
using lora::GgufValue;
using lora::ValueError;

namespace {

std::filesystem::path put(const TemporaryFolder& folder, const std::string& content) {
  std::ofstream(folder / "file.gguf", std::ios::binary) << content;
  return folder / "file.gguf";
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a malformed GGUF file is refused", "[gguf][errors]") {
  const TemporaryFolder folder;
  for (const CraftedFile& file : malformed_gguf()) {
    INFO(file.name);
    const auto path = put(folder, file.content());
    CHECK_THROWS_AS(GgufFile(path), FileError);
    CHECK_THROWS_WITH(GgufFile(path), contains("file.gguf: "));
  }
}

TEST_CASE("an odd but valid GGUF file is read", "[gguf]") {
  const TemporaryFolder folder;
  for (const CraftedFile& crafted : odd_gguf()) {
    INFO(crafted.name);
    const GgufFile file(put(folder, crafted.content()));
    for (const auto& [name, info] : file.tensors()) {
      CHECK(file.read_bytes(name).size() == info.end - info.begin);
    }
  }
}

TEST_CASE("what is no regular file is no GGUF file", "[gguf][errors]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(GgufFile(folder / "nothing"), contains("there is no such file"));
  CHECK_THROWS_WITH(GgufFile(folder.path()), contains("expected a regular file"));
  CHECK_THROWS_WITH(GgufFile("/dev/zero"), contains("expected a regular file"));
}

TEST_CASE("every prefix of a GGUF file is refused", "[gguf][errors]") {
  const TemporaryFolder folder;
  const std::string whole = padded(header(2, 2) + pair("s", kString, text("text")) +
                                   pair("n", kArray, array(kUint16, 3, "abcdef")) +
                                   tensor("a", {3, 2}, kF32, 0) + tensor("b", {1}, kF64, 32)) +
                            std::string(40, '\1');
  CHECK(GgufFile(put(folder, whole)).tensors().size() == 2);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size << " of " << whole.size() << " bytes");
    CHECK_THROWS_AS(GgufFile(put(folder, whole.substr(0, size))), FileError);
  }
}

TEST_CASE("metadata of every type is read", "[gguf]") {
  const TemporaryFolder folder;
  const std::string entries =
      pair("a", kUint8, "\xff") + pair("b", kInt8, "\xff") + pair("c", kUint16, "\xfe\xff") +
      pair("d", kInt16, "\xfe\xff") + pair("e", kUint32, u32(0xfffffffe)) +
      pair("f", kInt32, u32(0xfffffffe)) + pair("g", kFloat32, number_bytes(1.5f)) +
      pair("h", kBool, "\1") + pair("i", kString, text("\xc3\xa9")) +
      pair("j", kArray, array(kInt16, 2, "\1\2\3\4")) + pair("k", kUint64, u64(~5ull)) +
      pair("l", kInt64, u64(~5ull)) + pair("m", kFloat64, number_bytes(-2.25)) +
      pair("n", kArray, array(kString, 3, text("x") + text("") + text("yz"))) +
      pair("o", kArray, array(kBool, 2, std::string("\1\0", 2)));
  const GgufFile file(put(folder, padded(header(0, 15) + entries)));
  CHECK(file.metadata().size() == 15);
  CHECK(file.value<std::uint8_t>("a") == 255);
  CHECK(file.value<std::int8_t>("b") == -1);
  CHECK(file.value<std::uint16_t>("c") == 65534);
  CHECK(file.value<std::int16_t>("d") == -2);
  CHECK(file.value<std::uint32_t>("e") == 4294967294);
  CHECK(file.value<std::int32_t>("f") == -2);
  CHECK(file.value<float>("g") == 1.5f);
  CHECK(file.value<bool>("h"));
  CHECK(file.value<std::string>("i") == "\xc3\xa9");
  CHECK(file.array<std::int16_t>("j") == std::vector<std::int16_t>{0x201, 0x403});
  CHECK(file.value<std::uint64_t>("k") == ~5ull);
  CHECK(file.value<std::int64_t>("l") == -6);
  CHECK(file.value<double>("m") == -2.25);
  CHECK(file.array<std::string>("n") == std::vector<std::string>{"x", "", "yz"});
  CHECK(file.array<bool>("o") == std::vector<bool>{true, false});
  CHECK_THROWS_WITH(file.value<float>("z"), contains("there is no metadata \"z\""));
  CHECK_THROWS_WITH(file.value<float>("a"), contains("\"a\" is uint8, expected float32"));
  CHECK_THROWS_WITH(file.array<float>("a"), contains("\"a\" is uint8, expected array"));
  CHECK_THROWS_WITH(file.array<float>("j"), contains("an array of int16, expected of float32"));
}

TEST_CASE("sizes stand innermost first in the file", "[gguf]") {
  const TemporaryFolder folder;
  const std::string values = number_bytes(1.0f) + number_bytes(2.0f) + number_bytes(3.0f) +
                             number_bytes(4.0f) + number_bytes(5.0f) + number_bytes(6.0f);
  const GgufFile file(put(folder, padded(header(1, 0) + tensor("a", {3, 2}, kF32, 0)) + values));
  CHECK(same_bits(file.read<float>("a"), Tensor<float>({2, 3}, {1, 2, 3, 4, 5, 6})));
  CHECK_THROWS_WITH(file.read<double>("a"), contains("tensor \"a\" is F32, expected F64"));
  CHECK_THROWS_WITH(file.read<float>("b"), contains("there is no tensor \"b\""));
  CHECK_THROWS_WITH(file.read_bytes("b"), contains("there is no tensor \"b\""));
}

TEST_CASE("GGUF tensors and metadata survive a round trip bit for bit", "[gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  const Tensor<float> x({2, 3}, {1, -0.0f, NAN, INFINITY, 1e-45f, 3});
  const auto y = random_tensor<double>({5}, 1);
  const Tensor<std::int32_t> z({1, 2, 2}, {-1, 2, -3, 4});
  const Tensor<float> empty(Shape{0, 7});
  const std::vector<std::byte> blocks(2 * 34, std::byte{7});
  const std::map<std::string, GgufValue> metadata{
      {"a", std::uint8_t{1}},     {"b", std::int16_t{-2}},       {"c", 3.5f}, {"d", true},
      {"e", std::string("text")}, {"f", std::uint64_t{1} << 63}, {"g", -1.25}};
  lora::write_gguf(path, metadata,
                   {lora::tensor_entry("z", z),
                    lora::tensor_entry("y", y),
                    lora::tensor_entry("x", x),
                    lora::tensor_entry("empty", empty),
                    {"q", "Q8_0", {2, 32}, blocks}});
  const GgufFile file(path);
  CHECK(same_bits(file.read<float>("x"), x));
  CHECK(same_bits(file.read<double>("y"), y));
  CHECK(same_bits(file.read<std::int32_t>("z"), z));
  CHECK(file.read<float>("empty").shape() == Shape{0, 7});
  CHECK(file.read_bytes("q") == blocks);
  CHECK(file.tensors().at("q").dtype == "Q8_0");
  CHECK(file.metadata().size() == metadata.size());
  CHECK(file.value<std::uint8_t>("a") == 1);
  CHECK(file.value<std::int16_t>("b") == -2);
  CHECK(file.value<float>("c") == 3.5f);
  CHECK(file.value<bool>("d"));
  CHECK(file.value<std::string>("e") == "text");
  CHECK(file.value<std::uint64_t>("f") == std::uint64_t{1} << 63);
  CHECK(file.value<double>("g") == -1.25);
}

TEST_CASE("write_gguf writes these bytes", "[gguf]") {
  const TemporaryFolder folder;
  const Tensor<float> x({1, 2}, {1, 2}), y({3}, {3, 4, 5});
  const auto write = [&](const char* name, std::vector<lora::TensorEntry> entries) {
    lora::write_gguf(folder / name, {{"k", std::uint32_t{7}}}, std::move(entries));
    return read_all(folder / name);
  };
  const auto a = lora::tensor_entry("a", x), b = lora::tensor_entry("b", y);
  const std::string expected = padded(header(2, 1) + pair("k", kUint32, u32(7)) +
                                      tensor("a", {2, 1}, kF32, 0) + tensor("b", {3}, kF32, 32)) +
                               padded(number_bytes(1.0f) + number_bytes(2.0f)) +
                               padded(number_bytes(3.0f) + number_bytes(4.0f) + number_bytes(5.0f));
  CHECK(write("1", {a, b}) == expected);
  CHECK(write("2", {b, a}) == expected);
}

TEST_CASE("write_gguf refuses what no reader would take", "[gguf][errors]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const Tensor<float> x({2}, {1, 2});
  const auto a = lora::tensor_entry("a", x);
  const auto named = [&](const std::string& name) { return lora::tensor_entry(name, x); };
  const auto bytes = std::as_bytes(x.span());
  CHECK_THROWS_WITH(lora::write_gguf(path, {}, {a, a}), contains("tensor \"a\" twice"));
  CHECK_THROWS_AS(lora::write_gguf(path, {}, {named("")}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {}, {named("\xff")}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {}, {named(std::string(64, 'n'))}), ValueError);
  CHECK_THROWS_WITH(lora::write_gguf(path, {}, {{"a", "U8", {8}, bytes}}),
                    contains("has a type that GGUF does not know"));
  CHECK_THROWS_WITH(lora::write_gguf(path, {}, {{"a", "F32", {3}, bytes}}),
                    contains("F32 [3], does not fit its 8 bytes"));
  CHECK_THROWS_AS(lora::write_gguf(path, {}, {{"a", "F32", {1, 1, 1, 1, 2}, bytes}}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {}, {{"a", "Q4_0", {16}, bytes}}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {{"", true}}, {}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {{"a", std::string("\xff")}}, {}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {{"a", lora::GgufArray{}}}, {}), ValueError);
  CHECK_THROWS_AS(lora::write_gguf(path, {{"general.alignment", std::uint32_t{64}}}, {}),
                  ValueError);
  CHECK_FALSE(std::filesystem::exists(path));
  lora::write_gguf(path, {}, {named(std::string(63, 'n'))});
  CHECK(GgufFile(path).tensors().size() == 1);
}
