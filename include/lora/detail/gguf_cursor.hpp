// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <lora/detail/utf8.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>

namespace lora::inline v0::detail {

/// Goes once through a piece of a file, from front to back, and never beyond its end. Holds 64 KiB
/// of it at a time. Throws FileError.
class GgufCursor {
 public:
  /// `path` begins the text of every error. All three must outlive the cursor.
  GgufCursor(const InputFile& file, const std::string& path, std::uint64_t begin, std::uint64_t end)
      : file_(file), path_(path), at_(begin), end_(end) {}

  std::uint64_t position() const noexcept { return at_; }
  std::uint64_t left() const noexcept { return end_ - at_; }

  template <class T>
  T number() {
    T value;
    take(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  /// A byte that says yes or no: the format has 1 and 0 for it and nothing else.
  bool boolean() {
    const auto value = number<std::uint8_t>();
    if (value > 1) fail("expected a bool of 0 or 1, found " + std::to_string(value));
    return value == 1;
  }

  /// A length as 8 bytes, then that many bytes of UTF-8. Nothing is allocated before it is certain
  /// that they are there.
  std::string string() {
    const auto length = number<std::uint64_t>();
    require(length);
    std::string text(length, '\0');
    take(std::as_writable_bytes(std::span(text)));
    if (!is_utf8(text)) fail("invalid UTF-8 in a string");
    return text;
  }

  void skip(std::uint64_t count) {
    require(count);
    at_ += count;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(path_ + ": " + what + " at byte " + std::to_string(at_));
  }

 private:
  void require(std::uint64_t count) const {
    if (count > left()) {
      fail("expected " + std::to_string(count) + " more bytes, but the header has to end before " +
           std::to_string(end_));
    }
  }

  void take(std::span<std::byte> to) {
    require(to.size());
    while (!to.empty()) {
      if (at_ < buffer_at_ || at_ >= buffer_at_ + buffer_.size()) fill();
      const std::size_t offset = static_cast<std::size_t>(at_ - buffer_at_);
      const std::size_t count = std::min(to.size(), buffer_.size() - offset);
      std::memcpy(to.data(), buffer_.data() + offset, count);
      to = to.subspan(count);
      at_ += count;
    }
  }

  void fill() {
    buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left(), 1 << 16)));
    buffer_at_ = at_;
    file_.read_at(at_, buffer_);
  }

  const InputFile& file_;
  const std::string& path_;
  std::uint64_t at_, end_;
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_at_ = 0;
};

}  // namespace lora::inline v0::detail
