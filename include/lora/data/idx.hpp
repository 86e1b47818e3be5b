// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/tensor.hpp>

// The IDX format of the MNIST files: two zero bytes, the element type (8: unsigned byte), the
// number of dimensions, their sizes as big-endian 32-bit integers, then the elements.

namespace lora::inline v0 {

/// How many bytes an IDX file has in all, by its header. Needs the first 4 + 4 rank bytes.
/// Throws FileError, with `name` in the text, when they are no header of an unsigned-byte file.
inline std::uint64_t idx_file_size(std::span<const std::uint8_t> bytes, const std::string& name) {
  const auto fail = [&](const std::string& found) -> void {
    throw FileError(
        name + ": expected an IDX file of unsigned bytes with 1 to 3 dimensions, found " + found);
  };
  if (bytes.empty()) fail("an empty file");
  if (bytes.size() < 4) fail("only " + std::to_string(bytes.size()) + " bytes");
  if (bytes[0] == 0x1f && bytes[1] == 0x8b) fail("gzip data");
  if (bytes[0] != 0 || bytes[1] != 0) fail("other first bytes");
  if (bytes[2] != 8) fail("element type " + std::to_string(bytes[2]));
  const std::size_t rank = bytes[3];
  if (rank < 1 || rank > 3) fail(std::to_string(rank) + " dimensions");
  const std::size_t header = 4 + 4 * rank;
  if (bytes.size() < header) fail("only " + std::to_string(bytes.size()) + " bytes");
  std::uint64_t elements = 1;
  for (std::size_t i = 4; i < header; i += 4) {
    const std::uint64_t size = std::uint64_t{bytes[i]} << 24 | std::uint64_t{bytes[i + 1]} << 16 |
                               std::uint64_t{bytes[i + 2]} << 8 | bytes[i + 3];
    if (size != 0 && elements > std::uint64_t{std::numeric_limits<std::int64_t>::max()} / size) {
      fail("more than 2^63 - 1 elements");
    }
    elements *= size;
  }
  return header + elements;
}

/// The elements of an IDX file: (N,), (N, A) or (N, A, B). Throws FileError, with `name` in the
/// text, unless the bytes are exactly one such file.
inline Tensor<std::uint8_t> parse_idx(std::span<const std::uint8_t> bytes,
                                      const std::string& name) {
  const std::uint64_t expected = idx_file_size(bytes, name);
  if (bytes.size() != expected) {
    throw FileError(name + ": the IDX header announces " + std::to_string(expected) +
                    " bytes in all, found " + std::to_string(bytes.size()));
  }
  std::vector<index_t> sizes;
  for (std::size_t i = 4; i < 4 + 4 * std::size_t{bytes[3]}; i += 4) {
    sizes.push_back(index_t{bytes[i]} << 24 | index_t{bytes[i + 1]} << 16 |
                    index_t{bytes[i + 2]} << 8 | bytes[i + 3]);
  }
  return {Shape(sizes.begin(), sizes.end()), bytes.subspan(4 + 4 * sizes.size())};
}

namespace detail {

/// A regular file's bytes, at most `limit` of them.
inline std::vector<std::uint8_t> read_regular_file(const std::filesystem::path& path,
                                                   std::uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    throw FileError(path.string() + ": expected at most " + std::to_string(limit) +
                    " bytes, found " + std::to_string(file.size()));
  }
  std::vector<std::uint8_t> bytes(file.size());
  file.read_at(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace detail

/// Reads files of raw bytes; lora/data/gz.hpp has one that reads gzip files as well.
struct RawReader {
  /// The endings to try after a file's name.
  static constexpr const char* kEndings[] = {""};

  /// Throws FileError when the file has more than `limit` bytes.
  std::vector<std::uint8_t> operator()(const std::filesystem::path& path,
                                       std::uint64_t limit) const {
    return detail::read_regular_file(path, limit);
  }
};

}  // namespace lora::inline v0
