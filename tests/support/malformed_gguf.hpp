// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "support/crafted_file.hpp"
#include "support/gguf_bytes.hpp"

namespace lora_test {

namespace gguf {

constexpr std::uint64_t kMost = ~std::uint64_t{0};
constexpr std::uint64_t kMostSigned = kMost >> 1;

inline std::string aligned_to(std::uint32_t alignment, std::uint64_t second_offset) {
  const std::string key = "general.alignment";
  return padded(header(2, 1) + pair(key, kUint32, u32(alignment)) + tensor("a", {8}, kI8, 0) +
                    tensor("b", {8}, kI8, second_offset),
                64) +
         std::string(128, '\1');
}

inline std::string two_tensors(std::uint64_t first, std::uint64_t second) {
  return padded(header(2, 0) + tensor("a", {8}, kF32, first) + tensor("b", {8}, kF32, second)) +
         std::string(96, '\1');
}

inline CraftedFiles malformed_beginnings() {
  const std::string good = one_tensor(tensor("a", {8}, kF32, 0), 32);
  return {
      {"empty file", ""},
      {"three bytes", "GGU"},
      {"magic of GGML", "ggml" + good.substr(4)},
      {"magic of a big-endian file", "FUGG" + good.substr(4)},
      {"version 0", header(0, 0, 0)},
      {"version 1", header(0, 0, 1)},
      {"version 4", header(0, 0, 4)},
      {"version 3, big-endian", header(0, 0, 3u << 24)},
      {"ends after the version", good.substr(0, 8)},
      {"ends within the counts", good.substr(0, 20)},
      {"2^64 - 1 tensors", header(kMost, 0)},
      {"2^63 tensors", header(kMostSigned + 1, 0)},
      // What one tensor costs ggml, so that the product wraps to less than one.
      {"tensors whose memory wraps", header(kMost / 368 + 1, 0)},
      {"65,537 tensors", header(65537, 0)},
      {"1000 tensors in a file of one", header(1000, 0) + good.substr(24)},
      {"2^64 - 1 pairs", header(0, kMost)},
      {"1000 pairs in a file of none", header(0, 1000) + good.substr(24)},
      {"bytes after an empty header", header(0, 0) + "x"},
  };
}

inline CraftedFiles malformed_metadata() {
  const std::string key = text("key"), value = u32(kUint32) + u32(7);
  return {
      {"empty key", one_pair(text("") + value)},
      {"key of 2^64 - 1 bytes", one_pair(u64(kMost) + "key" + value)},
      {"key of 2^64 - 32 bytes", one_pair(u64(kMost - 31) + "key" + value)},
      {"key longer than the file", one_pair(u64(100) + "key" + value)},
      {"key of 65,536 bytes", one_pair(text(std::string(65536, 'k')) + value)},
      {"key that is no UTF-8", one_pair(text("k\xff") + value)},
      {"key with NUL", one_pair(text(std::string("k\0y", 3)) + value)},
      {"key twice", padded(header(0, 2) + key + value + key + value)},
      {"unknown type of value", one_pair(key + u32(13) + u64(0))},
      {"type 2^32 - 1 of value", one_pair(key + u32(0xffffffff) + u64(0))},
      {"truncated value", header(0, 1) + key + u32(kUint64) + "1234567"},
      {"bool of 2", one_pair(pair("key", kBool, "\2"))},
      {"string of 2^64 - 1 bytes", one_pair(pair("key", kString, u64(kMost)))},
      {"string of 2^64 - 8 bytes", one_pair(pair("key", kString, u64(kMost - 7) + "text"))},
      {"string longer than the file", one_pair(pair("key", kString, u64(1000) + "text"))},
      {"string that is no UTF-8", one_pair(pair("key", kString, text("\xc0\xaf")))},
      {"string with half a surrogate pair", one_pair(pair("key", kString, text("\xed\xa0\x80")))},
  };
}

inline CraftedFiles malformed_arrays() {
  const auto of = [](std::uint32_t type, std::uint64_t count, const std::string& elements) {
    return one_pair(pair("key", kArray, array(type, count, elements)));
  };
  return {
      {"array of arrays", of(kArray, 1, array(kUint8, 1, "\1"))},
      {"arrays nested 100,000 deep",
       of(kArray, 1, repeated(100000, [](auto) { return array(kArray, 1, ""); }))},
      {"array of an unknown type", of(13, 1, "\1")},
      {"array of 2^64 - 1 bytes", of(kUint8, kMost, "\1")},
      {"array of 2^64 - 1 strings", of(kString, kMost, text("a"))},
      {"array whose bytes wrap to 0", of(kUint64, std::uint64_t{1} << 61, "")},
      {"array whose bytes wrap to 4", of(kUint32, (std::uint64_t{1} << 62) + 1, u32(1))},
      {"array longer than the file", of(kUint16, 1000, u32(1))},
      {"array with a string longer than the file", of(kString, 2, text("a") + u64(1000))},
      {"array with a string that is no UTF-8", of(kString, 1, text("\xff"))},
      {"array of bools with a 2", of(kBool, 3, std::string("\0\1\2", 3))},
  };
}

inline CraftedFiles malformed_alignments() {
  const auto of = [](std::uint32_t type, const std::string& value) {
    return one_pair(pair("general.alignment", type, value));
  };
  return {
      {"alignment that is a uint64", of(kUint64, u64(32))},
      {"alignment that is a string", of(kString, text("32"))},
      {"alignment that is an array", of(kArray, array(kUint32, 1, u32(32)))},
      {"alignment 0", aligned_to(0, 8)},
      {"alignment 1", aligned_to(1, 8)},
      {"alignment 24", aligned_to(24, 24)},
      {"alignment 2^17", aligned_to(1u << 17, 1u << 17)},
      {"alignment 2^31", aligned_to(1u << 31, std::uint64_t{1} << 31)},
      {"offset of another alignment", aligned_to(64, 32)},
  };
}

inline CraftedFiles malformed_tensors() {
  const auto named = [](const std::string& name) {
    return one_tensor(tensor(name, {8}, kF32, 0), 32);
  };
  const auto of = [](const std::vector<std::uint64_t>& sizes, std::uint32_t type) {
    return one_tensor(tensor("a", sizes, type, 0), 32);
  };
  const std::uint64_t big = std::uint64_t{1} << 32, half = std::uint64_t{1} << 62;
  return {
      {"tensor without a name", named("")},
      {"tensor name of 65 bytes", named(std::string(65, 'n'))},
      {"tensor name of 1 MB", named(std::string(1000000, 'n'))},
      {"tensor name with NUL", named(std::string("a\0b", 3))},
      {"tensor name that is no UTF-8", named("\xc3(")},
      {"tensor name twice",
       padded(header(2, 0) + tensor("a", {8}, kF32, 0) + tensor("a", {8}, kF32, 32)) +
           std::string(64, '\1')},
      {"five sizes", of({1, 1, 1, 1, 8}, kF32)},
      {"2^32 - 1 sizes", one_tensor(text("a") + u32(0xffffffff) + u64(8), 32)},
      {"size 2^64 - 1", of({kMost}, kF32)},
      {"size 2^63", of({kMostSigned + 1}, kI8)},
      {"sizes whose product wraps to 0", of({big, big}, kF32)},
      {"sizes whose product wraps to 8", of({(std::uint64_t{1} << 63) + 4, 2}, kF32)},
      {"sizes whose product overflows once", of({kMostSigned, 2}, kF32)},
      {"sizes whose bytes wrap to 8", of({(std::uint64_t{1} << 61) + 1}, kF64)},
      {"sizes whose bytes wrap to 32", of({half + 8}, kF32)},
      {"sizes whose padding wraps to 0", of({kMost - 30}, kI8)},
      {"an empty tensor with impossible sizes", of({0, half, half}, kF32)},
      {"an empty tensor with a size of 2^63", of({0, kMostSigned + 1}, kI8)},
      {"type whose support has been removed", of({8}, 4)},
      {"type 31", of({8}, 31)},
      {"type 42", of({8}, 42)},
      {"type 2^32 - 1", of({8}, 0xffffffff)},
      {"rows of half a block", of({16, 2}, kQ4_0)},
      {"scalar of a type in blocks", of({}, kQ8_0)},
      {"blocks beyond the file", of({64}, kQ4_0)},
  };
}

inline CraftedFiles malformed_layouts() {
  const std::string good = one_tensor(tensor("a", {6}, kF32, 0), 24);
  const auto at = [](std::uint64_t offset) {
    return one_tensor(tensor("a", {8}, kF32, offset), 64);
  };
  return {
      {"offset beyond the file", at(1 << 20)},
      {"offset 2^64 - 32", at(kMost - 31)},
      {"offset 2^64 - 1", at(kMost)},
      {"offset between alignments", at(4)},
      {"hole at the start", at(32)},
      {"overlap", two_tensors(0, 0)},
      {"hole", two_tensors(0, 64)},
      {"tensors in another order", two_tensors(32, 0)},
      {"truncated data", good.substr(0, good.size() - 1)},
      {"no data", good.substr(0, good.size() - 24)},
      {"truncated padding before the data", good.substr(0, good.size() - 25)},
      {"padding that is too short", good + std::string(7, '\0')},
      {"bytes at the end", padded(good) + "PK\3\4"},
      // The sum of the sizes wraps although each of them is below 2^63.
      {"four tensors of 2^62 bytes",
       padded(header(4, 0) + repeated(4,
                                      [](std::uint64_t i) {
                                        return tensor(std::string(1, static_cast<char>('a' + i)),
                                                      {std::uint64_t{1} << 62}, kI8, i << 62);
                                      })) +
           std::string(64, '\1')},
  };
}

/// Where time or memory could get out of hand.
inline CraftedFiles malformed_large() {
  constexpr std::size_t kMega = std::size_t{1} << 20;
  const auto numbered = [](std::size_t i) { return std::to_string(i); };
  return {
      {"string of 40 MB",
       [] { return one_pair(pair("key", kString, text(std::string(40 * kMega, 's')))); }},
      {"string of 31 MB, then nothing",
       [] { return header(0, 2) + pair("key", kString, text(std::string(31 * kMega, 's'))); }},
      {"31 MB of empty strings, then nothing",
       [] {
         const std::uint64_t count = 31 * kMega / 8;
         return header(0, 2) +
                pair("key", kArray, array(kString, count, std::string(8 * count, '\0')));
       }},
      {"31 MB of bools, then nothing",
       [] {
         return header(0, 2) +
                pair("key", kArray, array(kBool, 31 * kMega, std::string(31 * kMega, '\1')));
       }},
      {"65,536 pairs, then a tensor too many",
       [numbered] {
         return header(1, 65536) +
                repeated(65536, [&](auto i) { return pair(numbered(i), kUint8, "\1"); });
       }},
      {"65,536 keys of 480 bytes, the last one twice",
       [numbered] {
         return header(0, 65536) + repeated(65536, [&](auto i) {
                  const std::string key = numbered(i < 65535 ? i : 65534);
                  return pair(key + std::string(480 - key.size(), 'k'), kUint8, "\1");
                });
       }},
      {"65,536 empty tensors, the last one twice",
       [numbered] {
         return padded(
             header(65536, 0) + repeated(65536, [&](auto i) {
               const std::string name = numbered(i < 65535 ? i : 65534);
               return tensor(name + std::string(64 - name.size(), 'n'), {0, 1, 1, 1}, kF32, 0);
             }));
       }},
      {"65,536 tensors over one block",
       [numbered] {
         return padded(header(65536, 0) +
                       repeated(65536,
                                [&](auto i) { return tensor(numbered(i), {40000}, kF32, 0); })) +
                std::string(160000, '\1');
       }},
  };
}

}  // namespace gguf

/// What GgufFile has to refuse, after the flaws that have been found in readers of this format:
/// counts and sizes that wrap, the wrong type, nesting, names, offsets.
inline CraftedFiles malformed_gguf() {
  CraftedFiles all;
  for (const CraftedFiles& files :
       {gguf::malformed_beginnings(), gguf::malformed_metadata(), gguf::malformed_arrays(),
        gguf::malformed_alignments(), gguf::malformed_tensors(), gguf::malformed_layouts(),
        gguf::malformed_large()}) {
    all.insert(all.end(), files.begin(), files.end());
  }
  return all;
}

/// What GgufFile has to take.
inline CraftedFiles odd_gguf() {
  using namespace gguf;
  const std::string bare = header(1, 0) + tensor("a", {6}, kF32, 0);
  return {
      {"nothing at all", header(0, 0)},
      {"nothing at all, padded", padded(header(0, 0))},
      {"version 2", header(0, 0, 2)},
      {"scalar", one_tensor(tensor("a", {}, kF32, 0), 4)},
      {"empty tensor", one_tensor(tensor("a", {5, 0}, kF32, 0), 0)},
      {"last tensor without padding", padded(bare) + std::string(24, '\1')},
      {"last tensor with padding", padded(padded(bare) + std::string(24, '\1'))},
      {"tensor in blocks", one_tensor(tensor("a", {64, 3}, kQ4_0, 0), 108)},
      {"alignment 64", aligned_to(64, 64)},
      {"alignment 8", padded(header(2, 1) + pair("general.alignment", kUint32, u32(8)) +
                                 tensor("a", {8}, kI8, 0) + tensor("b", {8}, kI8, 8),
                             8) +
                          std::string(16, '\1')},
      {"unicode names", padded(header(1, 1) + pair("\xc3\xa9", kUint8, "\1") +
                               tensor("\xf0\x9f\x98\x80", {0}, kF32, 0))},
      {"a path for a name", one_tensor(tensor("../../etc/passwd", {1}, kF32, 0), 4)},
      {"tensor name of 64 bytes", one_tensor(tensor(std::string(64, 'n'), {1}, kF32, 0), 4)},
      {"empty arrays", padded(header(0, 2) + pair("a", kArray, array(kString, 0, "")) +
                              pair("b", kArray, array(kFloat64, 0, "")))},
      {"30 MB of tokens",
       [] {
         const std::uint64_t count = (std::size_t{30} << 20) / 12;
         return header(0, 1) +
                pair("t", kArray,
                     array(kString, count, repeated(count, [](auto) { return text("word"); })));
       }},
  };
}

}  // namespace lora_test
