// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <zlib.h>

#include <lora/data/idx.hpp>
#include <lora/error.hpp>

namespace lora::inline v0 {

/// Decompresses one gzip member that is all of `bytes`. Stops as soon as more than `limit` bytes
/// come out, so a file made to explode does not. Throws FileError, with `name` in the text, on
/// damaged, truncated or trailing data.
inline std::vector<std::uint8_t> gunzip(const std::vector<std::uint8_t>& bytes, std::uint64_t limit,
                                        const std::string& name) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) throw FileError(name + ": zlib does not start");
  const struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } end{&stream};
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());

  std::vector<std::uint8_t> out;
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    const std::size_t before = out.size();
    out.resize(before + kPiece);
    stream.next_out = out.data() + before;
    stream.avail_out = static_cast<uInt>(kPiece);
    status = inflate(&stream, Z_NO_FLUSH);
    out.resize(before + kPiece - stream.avail_out);
    if (status == Z_BUF_ERROR || (status == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      throw FileError(name + ": the gzip data ends too early");
    }
    if (status != Z_OK && status != Z_STREAM_END) {
      throw FileError(name + ": the gzip data is damaged" +
                      (stream.msg ? std::string(": ") + stream.msg : ""));
    }
    if (out.size() > limit) {
      throw FileError(name + ": expected at most " + std::to_string(limit) +
                      " bytes, the gzip data holds more");
    }
  }
  if (stream.avail_in != 0) {
    throw FileError(name + ": " + std::to_string(stream.avail_in) + " bytes follow the gzip data");
  }
  return out;
}

/// Reads raw files and gzip files, told apart by their first bytes. Link zlib.
struct GzReader {
  static constexpr const char* kEndings[] = {"", ".gz"};

  std::vector<std::uint8_t> operator()(const std::filesystem::path& path,
                                       std::uint64_t limit) const {
    // Stored data can be a little longer than what comes out of it.
    std::vector<std::uint8_t> bytes = detail::read_regular_file(path, limit + limit / 100 + 1024);
    if (bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) {
      return gunzip(bytes, limit, path.string());
    }
    if (bytes.size() > limit) {
      throw FileError(path.string() + ": expected at most " + std::to_string(limit) +
                      " bytes, found " + std::to_string(bytes.size()));
    }
    return bytes;
  }
};

}  // namespace lora::inline v0
