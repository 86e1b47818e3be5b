// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <zlib.h>

#include <lora/data/idx.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>

namespace lora::inline v0 {

namespace detail {

/// Decompresses one gzip member of `size` bytes, which next() gives piece by piece: spans of less
/// than 4 GiB, an empty one at the end.
template <class Next>
std::vector<std::uint8_t> gunzip_pieces(const Next& next, std::uint64_t size, std::uint64_t limit,
                                        const std::string& name) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) throw FileError(name + ": zlib does not start");
  const struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } end{&stream};

  constexpr std::uint64_t kPiece = std::uint64_t{1} << 16;
  std::vector<std::uint8_t> out;
  // One byte makes at most 1032. What is reserved and not written to takes no memory, and a vector
  // that never moves does not need room for two of itself.
  out.reserve(static_cast<std::size_t>(std::min(limit, size * 1032) + kPiece));
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      const std::span<const std::uint8_t> piece = next();
      stream.next_in = const_cast<Bytef*>(piece.data());
      stream.avail_in = static_cast<uInt>(piece.size());
    }
    const std::size_t before = out.size();
    out.resize(before + kPiece);
    stream.next_out = out.data() + before;
    stream.avail_out = static_cast<uInt>(kPiece);
    status = inflate(&stream, Z_NO_FLUSH);
    out.resize(before + kPiece - stream.avail_out);
    if (status == Z_BUF_ERROR) throw FileError(name + ": the gzip data ends too early");
    if (status != Z_OK && status != Z_STREAM_END) {
      throw FileError(name + ": the gzip data is damaged" +
                      (stream.msg ? std::string(": ") + stream.msg : ""));
    }
    if (out.size() > limit) {
      throw FileError(name + ": expected at most " + std::to_string(limit) +
                      " bytes, the gzip data holds more");
    }
  }
  if (stream.total_in != size) {
    throw FileError(name + ": " + std::to_string(size - stream.total_in) +
                    " bytes follow the gzip data");
  }
  return out;
}

}  // namespace detail

/// Decompresses one gzip member that is all of `bytes`. Stops as soon as more than `limit` bytes
/// come out, so a file made to explode does not. Throws FileError, with `name` in the text, on
/// damaged, truncated or trailing data.
inline std::vector<std::uint8_t> gunzip(std::span<const std::uint8_t> bytes, std::uint64_t limit,
                                        const std::string& name) {
  std::span<const std::uint8_t> left = bytes;
  const auto next = [&] {
    const auto piece = left.first(std::min(left.size(), std::size_t{1} << 30));
    left = left.subspan(piece.size());
    return piece;
  };
  return detail::gunzip_pieces(next, bytes.size(), limit, name);
}

/// Reads raw files and gzip files, told apart by their first bytes. Link zlib.
struct GzReader {
  static constexpr const char* kEndings[] = {"", ".gz"};

  std::vector<std::uint8_t> operator()(const std::filesystem::path& path,
                                       std::uint64_t limit) const {
    const InputFile file(path);
    std::array<std::uint8_t, 2> magic{};
    if (file.size() >= 2) file.read_at(0, std::as_writable_bytes(std::span(magic)));
    if (magic[0] != 0x1f || magic[1] != 0x8b) return detail::read_regular_file(path, limit);
    // Stored data can be a little longer than what comes out of it.
    const std::uint64_t most = limit + limit / 100 + 1024;
    if (file.size() > most) {
      throw FileError(path.string() + ": expected at most " + std::to_string(most) +
                      " bytes of gzip data, found " + std::to_string(file.size()));
    }
    std::vector<std::uint8_t> piece(std::size_t{1} << 16);
    std::uint64_t at = 0;
    const auto next = [&] {
      const std::uint64_t count = std::min<std::uint64_t>(piece.size(), file.size() - at);
      const std::span<std::uint8_t> bytes(piece.data(), static_cast<std::size_t>(count));
      file.read_at(at, std::as_writable_bytes(bytes));
      at += count;
      return std::span<const std::uint8_t>(bytes);
    };
    return detail::gunzip_pieces(next, file.size(), limit, path.string());
  }
};

}  // namespace lora::inline v0
