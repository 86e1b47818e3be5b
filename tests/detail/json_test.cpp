// SPDX-License-Identifier: MIT
#include <lora/detail/json.hpp>

#include <string>

#include "support/catch.hpp"

using lora::FileError;
using lora::detail::json_quoted;
using lora::detail::JsonReader;
using lora_test::contains;

namespace {

std::string string_in(const std::string& text) {
  JsonReader json(text, "file");
  std::string value = json.string();
  json.expect_end();
  return value;
}

std::uint64_t number_in(const std::string& text) {
  JsonReader json(text, "file");
  const std::uint64_t value = json.number();
  json.expect_end();
  return value;
}

}  // namespace

TEST_CASE("JsonReader reads strings with every escape", "[json]") {
  CHECK(string_in(R"("plain")") == "plain");
  CHECK(string_in(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(string_in(R"("\u0041\u00e9\u20ac\ud83d\ude00")") ==
        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(string_in("\"\xe2\x82\xac\"") == "\xe2\x82\xac");
}

TEST_CASE("JsonReader refuses strings that are none", "[json][errors]") {
  for (const char* text : {"\"open", "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
                           "\"\\udc00\"", "\"\x01\"", "\"\x80\"", "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\\"}) {
    INFO(text);
    CHECK_THROWS_AS(string_in(text), FileError);
  }
}

TEST_CASE("JsonReader reads whole numbers exactly", "[json]") {
  CHECK(number_in("0") == 0);
  CHECK(number_in(" 18446744073709551615 ") == ~std::uint64_t{0});
  for (const char* text : {"18446744073709551616", "-1", "1.0", "1e3", "01", "", "+1", "0x1"}) {
    INFO(text);
    CHECK_THROWS_AS(number_in(text), FileError);
  }
}

TEST_CASE("JsonReader names the file and the place", "[json][errors]") {
  CHECK_THROWS_WITH(number_in("  x"), contains("file: expected a whole number at byte 2"));
}

TEST_CASE("JsonReader goes through lists", "[json]") {
  std::uint64_t sum = 0;
  JsonReader json("[1, 2 ,3]", "file");
  json.list('[', ']', [&] { sum += json.number(); });
  CHECK(sum == 6);
  JsonReader empty("[ ]", "file");
  empty.list('[', ']', [&] { FAIL("an empty list has no items"); });
  JsonReader trailing("[1,]", "file");
  CHECK_THROWS_AS(trailing.list('[', ']', [&] { trailing.number(); }), FileError);
}

TEST_CASE("json_quoted is read back as it was", "[json]") {
  const std::string text = "a\"b\\c\n\x01\xc3\xa9";
  CHECK(string_in(json_quoted(text)) == text);
}
