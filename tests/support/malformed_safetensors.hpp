// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "support/crafted_file.hpp"

namespace lora_test {

namespace safetensors {

inline std::string length_bytes(std::uint64_t length) { return number_bytes(length); }

inline std::string with_header(const std::string& header, std::size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\1');
}

inline std::string tensor(const std::string& name, const std::string& dtype,
                          const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

/// The header of a file whose one tensor is named "a".
inline std::string one(const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
  return "{" + tensor("a", dtype, shape, offsets) + "}";
}

/// A file of one byte under that name, as JSON writes it.
inline std::string named(const std::string& name) {
  return with_header("{" + tensor(name, "U8", "[1]", "[0,1]") + "}", 1);
}

inline const std::string kBig = "18446744073709551615";
inline const std::string kGood = one("F32", "[2]", "[0,8]");

inline CraftedFiles malformed_beginnings() {
  return {
      {"empty file", ""},
      {"seven bytes", "1234567"},
      {"header of no bytes", with_header("", 0)},
      {"header longer than the file", length_bytes(1000) + "{}"},
      {"header length 2^64 - 1", length_bytes(~std::uint64_t{0}) + "{}"},
      {"header length 2^64 - 8", length_bytes(~std::uint64_t{7}) + "{}"},
      {"header beyond the cap", length_bytes(200'000'000) + "{}"},
  };
}

inline CraftedFiles malformed_json() {
  return {
      {"not JSON", with_header("hello", 0)},
      {"array root", with_header("[]", 0)},
      {"single brace", with_header("{", 0)},
      {"byte 0xff", with_header("\xff", 0)},
      {"bad UTF-8 in a name", with_header("{\"\xc3(\":" + kGood.substr(5), 8)},
      {"overlong UTF-8", with_header("{\"\xc0\xaf\":" + kGood.substr(5), 8)},
      {"trailing bytes after the JSON", with_header(kGood + "x", 8)},
      {"second object after the JSON", with_header(kGood + "{}", 8)},
      {"leading space", with_header(" " + kGood, 8)},
      {"duplicate key", with_header("{" + tensor("a", "F32", "[2]", "[0,8]") + "," +
                                        tensor("a", "F32", "[2]", "[0,8]") + "}",
                                    8)},
      {"duplicate metadata", with_header("{\"__metadata__\":{},\"__metadata__\":{}}", 0)},
      {"nesting 200,000 deep",
       with_header("{\"a\":" + std::string(200000, '[') + std::string(200000, ']') + "}", 0)},
      {"a million open brackets", with_header("{\"a\":" + std::string(1000000, '['), 0)},
      {"metadata that is no string", with_header("{\"__metadata__\":{\"a\":1}}", 0)},
      {"truncated JSON", with_header(kGood.substr(0, kGood.size() - 3), 8)},
      {"control character in a name", with_header("{\"a\n\":" + kGood.substr(5), 8)},
      {"lone surrogate in a name", with_header("{\"\\ud800\":" + kGood.substr(5), 8)},
      {"unknown field", with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"
                                    "[0,8],\"x\":1}}",
                                    8)},
  };
}

inline CraftedFiles malformed_tensors() {
  std::string dims = "[1";
  for (int i = 0; i < 100000; ++i) dims += ",2";
  dims += "]";
  return {
      {"unknown dtype", with_header(one("F31", "[2]", "[0,8]"), 8)},
      {"missing dtype", with_header("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8)},
      {"missing shape", with_header("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8)},
      {"shape -1", with_header(one("F32", "[-1]", "[0,8]"), 8)},
      {"shape 1.5", with_header(one("F32", "[1.5]", "[0,6]"), 6)},
      {"shape 1e30", with_header(one("F32", "[1e30]", "[0,8]"), 8)},
      {"shape 02", with_header(one("F32", "[02]", "[0,8]"), 8)},
      {"shape true", with_header(one("F32", "[true]", "[0,4]"), 4)},
      {"shape above 2^64", with_header(one("F32", "[" + kBig + "9]", "[0,8]"), 8)},
      {"product that wraps to 0", with_header(one("F32", "[4294967296,4294967296]", "[0,0]"), 0)},
      {"product that wraps to 4", with_header(one("F32", "[4611686018427387905]", "[0,4]"), 4)},
      {"a hundred thousand sizes", with_header(one("F32", dims, "[0,8]"), 8)},
  };
}

inline CraftedFiles malformed_layouts() {
  std::string overlapping = "{";
  for (int i = 0; i < 1000; ++i) {
    overlapping += (i ? "," : "") + tensor("t" + std::to_string(i), "F32", "[4]", "[0,16]");
  }
  overlapping += "}";
  return {
      {"shape that does not fill the bytes", with_header(one("F32", "[3]", "[0,8]"), 8)},
      {"offsets reversed", with_header(one("F32", "[2]", "[8,0]"), 8)},
      {"offsets beyond the file", with_header(one("F32", "[2]", "[0,8]"), 4)},
      {"negative offset", with_header(one("F32", "[2]", "[-8,0]"), 8)},
      {"one offset", with_header(one("F32", "[2]", "[8]"), 8)},
      {"three offsets", with_header(one("F32", "[2]", "[0,8,8]"), 8)},
      {"offset 2^64 - 1", with_header(one("F32", "[2]", "[0," + kBig + "]"), 8)},
      {"offset 4e0", with_header(one("F32", "[1]", "[0,4e0]"), 4)},
      {"overlap", with_header(overlapping, 16)},
      {"hole", with_header("{" + tensor("a", "F32", "[1]", "[0,4]") + "," +
                               tensor("b", "F32", "[1]", "[8,12]") + "}",
                           12)},
      {"hole at the start", with_header(one("F32", "[1]", "[4,8]"), 8)},
      {"bytes at the end", with_header(kGood, 8) + "PK\3\4"},
      {"truncated data", with_header(kGood, 7)},
      {"half a byte", with_header(one("F4", "[1]", "[0,0]"), 0)},
  };
}

/// Where time or memory could get out of hand: the most entries that fit into 16 MiB of header.
inline CraftedFiles malformed_large() {
  constexpr std::size_t kMost = (std::size_t{16} << 20) - 1000;
  const auto filled = [](const auto& item) {
    std::string all;
    for (std::size_t i = 0; all.size() < kMost; ++i) all += (i ? "," : "") + item(i);
    return all;
  };
  const auto numbered = [](std::size_t i) { return "\"" + std::to_string(i) + "\":"; };
  return {
      {"100,000 tensors over one block",
       [] {
         const auto item = [](std::size_t i) {
           return (i ? "," : "{") + tensor("t" + std::to_string(i), "F32", "[40000]", "[0,160000]");
         };
         return with_header(repeated(100000, item) + "}", 160000);
       }},
      {"header of 17 MB",
       [] { return with_header("{}" + std::string(std::size_t{17} << 20, ' '), 0); }},
      {"16 MB of empty tensors, then nothing",
       [=] {
         return with_header("{" + filled([&](std::size_t i) {
                              return numbered(i) +
                                     "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
                            }),
                            0);
       }},
      {"16 MB of metadata, then nothing",
       [=] {
         return with_header(
             "{\"__metadata__\":{" + filled([&](std::size_t i) { return numbered(i) + "\"\""; }),
             0);
       }},
      {"16 MB of sizes of one tensor",
       [=] {
         const std::string sizes = filled([](std::size_t) { return std::string("1"); });
         return with_header(one("U8", "[" + sizes + "]", "[0,0]"), 0);
       }},
      {"16 MB of one name, then nothing",
       [=] { return with_header("{\"" + std::string(kMost, 'n') + "\"", 0); }},
      {"16 MB of one dtype",
       [=] { return with_header(one(std::string(kMost, 'F'), "[1]", "[0,1]"), 1); }},
      {"16 MB of escapes",
       [=] {
         return with_header("{\"" + repeated(kMost / 6, [](std::size_t) { return "\\u00e9"; }), 0);
       }},
      {"16 MB of open brackets",
       [=] { return with_header("{\"a\":{\"shape\":" + std::string(kMost, '['), 0); }},
  };
}

}  // namespace safetensors

/// What SafetensorsFile has to refuse: what the reference implementation refuses, what readers of
/// this format have been found to take, and what its description forbids.
inline CraftedFiles malformed_safetensors() {
  using namespace safetensors;
  CraftedFiles all;
  for (const CraftedFiles& files : {malformed_beginnings(), malformed_json(), malformed_tensors(),
                                    malformed_layouts(), malformed_large()}) {
    all.insert(all.end(), files.begin(), files.end());
  }
  return all;
}

/// What SafetensorsFile has to take. A name is a label and never a path, so whatever JSON can say
/// is a name, as for the reference implementation: NUL, "../../etc/passwd", a megabyte.
inline CraftedFiles odd_safetensors() {
  using namespace safetensors;
  return {
      {"nothing at all", with_header("{}", 0)},
      {"nothing at all, padded", with_header("{}      ", 0)},
      {"scalar", with_header(one("F32", "[]", "[0,4]"), 4)},
      {"empty tensor", with_header(one("F32", "[0,5]", "[0,0]"), 0)},
      {"five sizes", with_header(one("F32", "[1,1,1,1,1]", "[0,4]"), 4)},
      {"unicode names", named("\\u00e9\\ud83d\\ude00\xc3\xa9")},
      {"name with NUL", named("a\\u0000b")},
      {"a path for a name", named("../../etc/passwd")},
      {"name of 1 MB", named(std::string(1000000, 'n'))},
      {"no name", named("")},
      {"metadata and spaces", with_header("{ \"__metadata__\" : { \"a\" : \"b\\n\" } , " +
                                              one("BF16", "[ 1 , 2 ]", "[ 0 , 4 ]").substr(1),
                                          4)},
  };
}

}  // namespace lora_test
