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
    if (value > 1) fail_boolean();
    return value == 1;
  }

  void skip_booleans(std::uint64_t count) {
    require(count);
    while (count > 0) {
      const std::span<const std::byte> bytes = piece(count);
      const auto is_neither = [](std::byte byte) { return std::to_integer<int>(byte) > 1; };
      if (std::any_of(bytes.begin(), bytes.end(), is_neither)) fail_boolean();
      count -= bytes.size();
    }
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
  [[noreturn]] void fail_boolean() const { fail("expected a bool of 0 or 1"); }

  void require(std::uint64_t count) const {
    if (count > left()) {
      fail("expected " + std::to_string(count) + " more bytes, but the header has to end before " +
           std::to_string(end_));
    }
  }

  void take(std::span<std::byte> to) {
    require(to.size());
    while (!to.empty()) {
      const std::span<const std::byte> bytes = piece(to.size());
      std::memcpy(to.data(), bytes.data(), bytes.size());
      to = to.subspan(bytes.size());
    }
  }

  // The next bytes, at least one and at most `most`, of which as many must be left.
  std::span<const std::byte> piece(std::uint64_t most) {
    if (at_ < buffer_at_ || at_ >= buffer_at_ + buffer_.size()) {
      buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left(), 1 << 16)));
      buffer_at_ = at_;
      file_.read_at(at_, buffer_);
    }
    const std::span<const std::byte> buffered =
        std::span(buffer_).subspan(static_cast<std::size_t>(at_ - buffer_at_));
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::uint64_t>(most, buffered.size()));
    at_ += count;
    return buffered.first(count);
  }

  const InputFile& file_;
  const std::string& path_;
  std::uint64_t at_, end_;
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_at_ = 0;
};

}  // namespace lora::inline v0::detail
