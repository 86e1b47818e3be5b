// SPDX-License-Identifier: MIT
#include <lora/detail/path_regex.hpp>

#include <string>

#include "support/catch.hpp"

using lora::detail::PathRegex;
using lora_test::contains;

namespace {

bool matches(const std::string& expression, const std::string& path) {
  INFO(expression << " on " << path);
  return PathRegex(expression).matches(path);
}

}  // namespace

TEST_CASE("an expression matches the whole path, as re.fullmatch does", "[regex]") {
  CHECK(matches("", ""));
  CHECK(matches("layers.0", "layers_0"));
  CHECK_FALSE(matches("layers\\.0", "layers_0"));
  CHECK_FALSE(matches("layer", "layers"));
  CHECK_FALSE(matches("ayers", "layers"));
  CHECK(matches("a|bc|", "bc"));
  CHECK(matches("a|bc|", ""));
  CHECK_FALSE(matches("a|bc|", "ac"));
  CHECK(matches("x(?:a|(?P<name>b))+y", "xabby"));
  CHECK(matches("(a*)*b", "aaab"));
  CHECK(matches("^a$", "a"));
  CHECK(matches("(.*\\.)?(^a)$", "a"));
  CHECK_FALSE(matches("(.*\\.)?(^a)$", "x.a"));
  CHECK(matches("{", "{"));
}

TEST_CASE("repetitions match as often as they say", "[regex]") {
  for (int n = 0; n < 7; ++n) {
    const std::string path(static_cast<std::size_t>(n), 'a');
    CHECK(matches("a*", path));
    CHECK(matches("a+?", path) == (n >= 1));
    CHECK(matches("a?", path) == (n <= 1));
    CHECK(matches("a{3}", path) == (n == 3));
    CHECK(matches("a{2,}", path) == (n >= 2));
    CHECK(matches("a{,2}", path) == (n <= 2));
    CHECK(matches("a{2,4}", path) == (n >= 2 && n <= 4));
    CHECK(matches("(aa){1,2}", path) == (n == 2 || n == 4));
  }
}

TEST_CASE("brackets and escapes stand for the characters that they name", "[regex]") {
  CHECK(matches("[a-c_]+", "ab_c"));
  CHECK_FALSE(matches("[a-c_]", "-"));
  CHECK(matches("[^.]*", "ab_c"));
  CHECK_FALSE(matches("[^.]*", "a.c"));
  CHECK(matches("[]a-]+", "]-a"));
  CHECK(matches("[\\d.]+", "1.2"));
  CHECK(matches("\\w\\W\\d\\D", "_.0x"));
  CHECK_FALSE(matches("\\w", "."));
}

TEST_CASE("assertions look at the place", "[regex]") {
  CHECK(matches(".*\\bmodel\\b.*", "a.model.b"));
  CHECK_FALSE(matches(".*\\bmodel\\b.*", "a.my_model.b"));
  CHECK(matches("(?!.*vision).*proj", "text.proj"));
  CHECK_FALSE(matches("(?!.*vision).*proj", "vision.proj"));
  CHECK(matches("(?=text).*", "text.proj"));
  CHECK_FALSE(matches("(?=text).*", "vision.text"));
}

TEST_CASE("what takes exponential time elsewhere is done at once", "[regex]") {
  const std::string path(5000, 'a');
  CHECK_FALSE(PathRegex("(a*)*b").matches(path));
  CHECK_FALSE(PathRegex("(a|a)*b").matches(path));
  CHECK_FALSE(PathRegex("(.*.*)*x").matches(path));
}

TEST_CASE("an expression that is not supported is refused with its place", "[regex][errors]") {
  const auto fails_with = [](const std::string& expression, const std::string& what) {
    INFO(expression.substr(0, 80));
    CHECK_THROWS_WITH(PathRegex(expression), contains(what));
  };
  fails_with("a(b", "the regular expression \"a(b\" has a '(' without its ')' at character 4");
  fails_with("a)b", "a ')' without its '('");
  fails_with("[a", "a '[' without its ']'");
  fails_with("*a", "nothing to repeat");
  fails_with("a**", "a repeated or possessive repetition");
  fails_with("a++", "a repeated or possessive repetition");
  fails_with("^*", "a repeated assertion");
  fails_with("(a)\\1", "an escape that is not supported");
  fails_with("(?i)a", "a kind of group that is not supported");
  fails_with("(?<=a)b", "a kind of group that is not supported");
  fails_with("(?!(?=a))b", "look-ahead within look-ahead");
  fails_with("a{3,2}", "a repetition of more than its most times");
  fails_with("a{1001}", "a repetition of more than 1000 times");
  fails_with("(a{100}){100}", "too many repetitions");
  fails_with("\xC3\xA9", "a character that is not ASCII");
  fails_with(std::string(1000, '('), "groups nested too deep");
  fails_with("a\\", "a backslash and nothing after it");
  fails_with(std::string(100'001, 'a'), "expected at most 100000");
}

TEST_CASE("an escaped path matches itself alone", "[regex]") {
  const std::string path = "layers.0.my-[x]";
  CHECK(matches(lora::detail::regex_escaped(path), path));
  CHECK_FALSE(matches(lora::detail::regex_escaped("a.b"), "a_b"));
}
