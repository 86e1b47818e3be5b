// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <zlib.h>

#include "support/crafted_file.hpp"
#include "support/gzip.hpp"

// IDX files, raw and in gzip, right or wrong. Link zlib.
namespace lora_test {

namespace idx {

inline std::string big_endian(std::uint32_t value) {
  std::string bytes = number_bytes(value);
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

inline std::string header(const std::vector<std::uint32_t>& sizes, char type = 8) {
  std::string bytes{'\0', '\0', type, static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) bytes += big_endian(size);
  return bytes;
}

inline std::string gz(const std::string& text) {
  const std::vector<std::uint8_t> packed = gzip({text.begin(), text.end()});
  return {packed.begin(), packed.end()};
}

/// A gzip file whose header has those flags and fields, of the same data as gz(text).
inline std::string gz_with_fields(const std::string& text, int flags, const std::string& fields) {
  std::string bytes = gz(text);
  bytes[3] = static_cast<char>(flags);
  return bytes.substr(0, 10) + fields + bytes.substr(10);
}

inline std::string replaced(std::string bytes, std::size_t at, const std::string& with) {
  return bytes.replace(at, with.size(), with);
}

/// Data that packs badly.
inline std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint64_t state = 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

/// Ten megabytes that unpack to ten gigabytes, zeros after the given beginning: one megabyte of
/// zeros, packed once and without reference to what stands before it, 10,240 times.
inline std::string bomb(const std::string& beginning) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  const auto pack = [&](const std::string& text) {
    std::string out(deflateBound(&stream, text.size()) + 64, '\0');
    std::string in = text;
    stream.next_in = reinterpret_cast<Bytef*>(in.data());
    stream.avail_in = static_cast<uInt>(in.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FULL_FLUSH);
    out.resize(out.size() - stream.avail_out);
    return out;
  };
  const std::string first = pack(beginning),
                    megabyte = pack(std::string(std::size_t{1} << 20, '\0'));
  deflateEnd(&stream);
  return gz("").substr(0, 10) + first + repeated(10240, [&](std::size_t) { return megabyte; });
}

inline const std::string kMnistHeader = header({60000, 28, 28});

inline CraftedFiles malformed_raw() {
  constexpr std::uint32_t kMost = 0xffffffff;
  return {
      {"empty file", ""},
      {"three bytes", header({2}).substr(0, 3)},
      {"half a header", header({2, 3, 4}).substr(0, 8)},
      {"header alone", kMnistHeader},
      {"half a body", header({4, 5, 6}) + std::string(60, '\1')},
      {"a byte too few", header({4, 5, 6}) + std::string(119, '\1')},
      {"a byte too many", header({4, 5, 6}) + std::string(121, '\1')},
      {"element type 9", header({4}, 9) + "1234"},
      {"element type 13", header({1}, 13) + "1234"},
      {"no dimensions", header({}) + "1"},
      {"four dimensions", header({1, 1, 1, 1}) + "1"},
      {"255 dimensions", header(std::vector<std::uint32_t>(255, 1)) + "1"},
      {"other first bytes", replaced(header({1}) + "1", 0, "\1")},
      {"2^32 - 1 elements", header({kMost})},
      {"65,536 x 65,536 elements", header({1, 65536, 65536})},
      {"2^96 elements", header({kMost, kMost, kMost})},
      {"elements whose count wraps to 0", header({1u << 31, 1u << 31, 4})},
      {"no elements of impossible size", header({0, kMost, kMost}) + "1"},
      {"48 MB, one more than is asked for",
       [] {
         return header({1, 1, 47040001}) + std::string(47040001, '\1');
       }},
  };
}

inline CraftedFiles malformed_gz() {
  const std::string good = header({2, 3}) + "abcdef", packed = gz(good);
  const std::size_t end = packed.size();
  return {
      {"gzip: two bytes", packed.substr(0, 2)},
      {"gzip: header alone", packed.substr(0, 10)},
      {"gzip: half the data", packed.substr(0, end / 2)},
      {"gzip: no checksum", packed.substr(0, end - 8)},
      {"gzip: half the length", packed.substr(0, end - 2)},
      {"gzip: wrong checksum", replaced(packed, end - 8, "\1\2\3\4")},
      {"gzip: wrong length", replaced(packed, end - 4, number_bytes(std::uint32_t{1} << 31))},
      {"gzip: unknown method", replaced(packed, 2, "\7")},
      {"gzip: reserved flags", replaced(packed, 3, "\xe0")},
      {"gzip: wrong checksum of the header", gz_with_fields(good, 2, "\1\2")},
      {"gzip: extra field beyond the file", gz_with_fields(good, 4, "\xff\xff")},
      {"gzip: name that does not end",
       [good] { return gz_with_fields(good, 8, std::string(30000000, 'n')).substr(0, 30000000); }},
      {"gzip: comment that does not end",
       [good] { return gz_with_fields(good, 16, std::string(30000000, 'c')).substr(0, 30000000); }},
      {"gzip: blocks of an unknown kind", packed.substr(0, 10) + std::string(100, '\x07')},
      {"gzip: distance before the start", packed.substr(0, 10) + "\x4b\x04\x12\x00" + "12345678"},
      {"gzip: a byte after the end", packed + '\0'},
      {"gzip: two members", packed + packed},
      {"gzip: two members, one file", gz(good.substr(0, 9)) + gz(good.substr(9))},
      {"gzip: gzip in gzip", gz(packed)},
      {"gzip: nothing", gz("")},
      {"gzip: file with a byte too few", gz(good.substr(0, good.size() - 1))},
      {"gzip: 10 GB of zeros", [] { return bomb(""); }},
      {"gzip: 10 GB after the header of MNIST", [] { return bomb(kMnistHeader); }},
      {"gzip: 47 MB that pack badly, a byte too few",
       [] { return gz(kMnistHeader + noise(47039999)); }},
      {"gzip: 47 MB that pack badly, truncated",
       [] {
         const std::string all = gz(kMnistHeader + noise(47040000));
         return all.substr(0, all.size() - 1);
       }},
  };
}

}  // namespace idx

/// What a reader of IDX files that asks for MNIST's training images, 47,040,016 bytes in all, has
/// to refuse.
inline CraftedFiles malformed_idx() {
  CraftedFiles all = idx::malformed_raw();
  for (const CraftedFile& file : idx::malformed_gz()) all.push_back(file);
  return all;
}

/// What it has to take.
inline CraftedFiles odd_idx() {
  using namespace idx;
  const std::string good = header({2, 3}) + "abcdef";
  return {
      {"no elements", header({0})},
      {"no elements of some size", header({0, 28, 28})},
      {"gzip: extra field of 65,535 bytes",
       gz_with_fields(good, 4, "\xff\xff" + std::string(65535, 'x'))},
      {"gzip: name of 1 MB", gz_with_fields(good, 8, std::string(1000000, 'n') + '\0')},
      {"gzip: name and comment", gz_with_fields(good, 24, std::string("name\0comment\0", 13))},
      {"gzip: no elements", gz(header({0}))},
  };
}

}  // namespace lora_test
