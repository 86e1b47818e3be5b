// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <lora/detail/utf8.hpp>
#include <lora/error.hpp>

namespace lora::inline v0::detail {

/// Pulls the few kinds of JSON value that a safetensors header and an index of such files have out
/// of a text, strictly: no recursion, no tree, nothing but RFC 8259. Throws FileError with the
/// place of the fault.
class JsonReader {
 public:
  /// `name` begins the text of every error. Both must outlive the reader.
  JsonReader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  std::size_t position() const noexcept { return at_; }

  /// Whether the next character, white space aside, is `c`; if so, it is taken.
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!take(c)) fail(std::string("expected '") + c + "'");
  }

  void expect_end() {
    skip_space();
    if (at_ != text_.size()) fail("expected the end of the JSON text");
  }

  /// Calls item() for each item of a list in brackets: '[' ']' or '{' '}'.
  template <class Item>
  void list(char open, char close, const Item& item) {
    expect(open);
    if (take(close)) return;
    do {
      item();
    } while (take(','));
    expect(close);
  }

  /// A whole number without sign, fraction or exponent.
  std::uint64_t number() {
    skip_space();
    const std::size_t begin = at_;
    std::uint64_t value = 0;
    for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) {
        fail("expected a number below 2^64");
      }
      value = value * 10 + digit;
    }
    const bool leading_zero = at_ - begin > 1 && text_[begin] == '0';
    const bool goes_on = at_ < text_.size() && (text_[at_] == '.' || (text_[at_] | 32) == 'e');
    if (at_ == begin || leading_zero || goes_on) fail("expected a whole number");
    return value;
  }

  std::string string() {
    expect('"');
    std::string value;
    while (true) {
      if (at_ == text_.size()) fail("the text ends within a string");
      const char c = text_[at_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c == '\\') {
        ++at_;
        escape(value);
      } else if (static_cast<unsigned char>(c) < 0x80) {
        value += c;
        ++at_;
      } else {
        utf8(value);
      }
    }
    ++at_;
    return value;
  }

  /// Passes over a value of any kind.
  void skip_value() {
    // What is open, innermost last; a value follows the comma or colon after which it is empty.
    std::string open;
    do {
      skip_space();
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      if (c == '{' || c == '[') {
        if (open.size() == kMaxDepth)
          fail("more than " + std::to_string(kMaxDepth) + " brackets open");
        open += c;
        ++at_;
        if (!take(c == '{' ? '}' : ']')) {
          if (c == '{') skip_key();
          continue;
        }
        open.pop_back();
      } else if (c == '"') {
        string();
      } else {
        skip_scalar();
      }
      while (!open.empty()) {
        if (take(',')) {
          if (open.back() == '{') skip_key();
          break;
        }
        expect(open.back() == '{' ? '}' : ']');
        open.pop_back();
      }
    } while (!open.empty());
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(std::string(name_) + ": " + what + " at byte " + std::to_string(at_) +
                    " of the JSON text");
  }

 private:
  static constexpr std::size_t kMaxDepth = 64;

  void skip_key() {
    string();
    expect(':');
  }

  // A number, true, false or null.
  void skip_scalar() {
    for (const std::string_view word : {"true", "false", "null"}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return;
    }
    take_one_of("-");
    const std::size_t begin = at_;
    const std::size_t digits = skip_digits();
    if (digits == 0 || (digits > 1 && text_[begin] == '0')) fail("expected a value");
    if (take_one_of(".") && skip_digits() == 0) fail("expected a digit");
    if (!take_one_of("eE")) return;
    take_one_of("+-");
    if (skip_digits() == 0) fail("expected a digit");
  }

  bool take_one_of(std::string_view characters) {
    if (at_ == text_.size() || characters.find(text_[at_]) == std::string_view::npos) return false;
    ++at_;
    return true;
  }

  std::size_t skip_digits() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ - begin;
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  void escape(std::string& value) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (at_ == text_.size()) fail("the text ends within a string");
    const char c = text_[at_++];
    if (const auto i = kNames.find(c); i != std::string_view::npos) {
      value += kValues[i];
    } else if (c == 'u') {
      std::uint32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
        at_ += 2;
        const std::uint32_t low = hex4();
        if (low < 0xDC00 || low > 0xDFFF) fail("half a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else if (code >= 0xD800 && code < 0xE000) {
        fail("half a surrogate pair");
      }
      append_utf8(value, code);
    } else {
      fail("an unknown escape in a string");
    }
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const char lower = static_cast<char>(c | 32);
      if (is_digit(c)) {
        code = code * 16 + static_cast<std::uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        code = code * 16 + static_cast<std::uint32_t>(lower - 'a' + 10);
      } else {
        fail("expected four hexadecimal digits");
      }
    }
    return code;
  }

  static void append_utf8(std::string& value, std::uint32_t code) {
    const auto tail = [&](int shift) {
      value += static_cast<char>(0x80 | ((code >> shift) & 0x3F));
    };
    if (code < 0x80) {
      value += static_cast<char>(code);
    } else if (code < 0x800) {
      value += static_cast<char>(0xC0 | code >> 6);
      tail(0);
    } else if (code < 0x10000) {
      value += static_cast<char>(0xE0 | code >> 12);
      tail(6), tail(0);
    } else {
      value += static_cast<char>(0xF0 | code >> 18);
      tail(12), tail(6), tail(0);
    }
  }

  // One character of several bytes.
  void utf8(std::string& value) {
    const std::size_t length = utf8_length(text_.substr(at_));
    if (length == 0) fail("invalid UTF-8");
    value += text_.substr(at_, length);
    at_ += length;
  }

  std::string_view text_;
  std::string_view name_;
  std::size_t at_ = 0;
};

/// A string as JSON writes it, with its quotes.
inline std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr const char* kHex = "0123456789abcdef";
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace lora::inline v0::detail
