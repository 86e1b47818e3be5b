// SPDX-License-Identifier: MIT
#include "attention_lora/texts.hpp"

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <lora/detail/sha256.hpp>

#include "attention_lora/grammar.hpp"
#include "attention_lora/windows.hpp"
#include "support/models.hpp"

using namespace lora_test;
using namespace attention_lora;

namespace {

std::string sha256(const std::string& text) {
  return lora::detail::Sha256::hex(
      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Predicts a character from the `order` before it: counts, each order mixed with the next lower
/// one as by Witten and Bell, 1991, IEEE Trans. Inf. Theory 37, p. 1085 (method C).
class CharacterModel {
 public:
  CharacterModel(const std::string& text, std::size_t order) : contexts_(order + 1) {
    for (std::size_t k = 0; k <= order; ++k) {
      for (std::size_t i = k; i < text.size(); ++i) ++contexts_[k][text.substr(i - k, k)][text[i]];
    }
  }

  /// Nats a character.
  double loss(const std::string& text) const {
    double sum = 0;
    const std::size_t order = contexts_.size() - 1;
    for (std::size_t i = order; i < text.size(); ++i) {
      double p = 1.0 / static_cast<double>(kCharacters.size());
      for (std::size_t k = 0; k <= order; ++k) {
        const auto found = contexts_[k].find(text.substr(i - k, k));
        if (found == contexts_[k].end()) break;
        double all = 0;
        for (const auto& [c, count] : found->second) all += count;
        const auto kinds = static_cast<double>(found->second.size());
        const auto seen = found->second.find(text[i]);
        p = ((seen == found->second.end() ? 0 : seen->second) + kinds * p) / (all + kinds);
      }
      sum -= std::log(p);
    }
    return sum / static_cast<double>(text.size() - order);
  }

 private:
  std::vector<std::map<std::string, std::map<char, int>>> contexts_;
};

}  // namespace

TEST_CASE("the texts are the same on every machine, and others for another seed", "[texts]") {
  const Text a = fables(), b = logbook();
  CHECK(sha256(a.train) == "a4efff458b298f651f9636a057af9f921bc311e940f39f088bf7301792ce4602");
  CHECK(sha256(a.held_out) == "df3c90f80c3a09df44009fdc846c5b2e374b9f185574345df5ce91015f60a413");
  CHECK(sha256(b.train) == "c22e1216ebf55e6b1c07ccf494b1f67d293c2de11b3cae3b861c501eb68cb3a3");
  CHECK(sha256(b.held_out) == "287762faa95463cb79ca716c90ab65464c967e735b3c6f8ac7b5e3fac89e114f");
  CHECK(fables(1).train.substr(0, 500) != a.train.substr(0, 500));
  CHECK(logbook(1).train.substr(0, 500) != b.train.substr(0, 500));
}

TEST_CASE("each text has every character, and no others", "[texts]") {
  const std::set<char> expected(kCharacters.begin(), kCharacters.end());
  CHECK(expected.size() == kCharacters.size());
  for (const Text& text : {fables(), logbook()}) {
    INFO(text.name);
    CHECK(std::set<char>(text.train.begin(), text.train.end()) == expected);
    for (const char c : text.held_out) REQUIRE(expected.count(c) == 1);
  }
}

TEST_CASE("what is held out is not in what is learned from", "[texts]") {
  for (const Text& text : {fables(), logbook()}) {
    INFO(text.name);
    CHECK(text.train.size() >= 400'000);
    CHECK(text.train.size() < 401'000);
    CHECK(text.held_out.size() >= 40'000);
    CHECK(text.held_out.size() < 41'000);
    CHECK(text.train.back() == '\n');
    const auto learned = lines_of(text.train);
    const std::set<std::string> known(learned.begin(), learned.end());
    for (const std::string& line : lines_of(text.held_out)) REQUIRE(known.count(line) == 0);
  }
}

TEST_CASE("each text can be learned, not by heart, and does not teach the other", "[texts]") {
  const Text texts[] = {fables(), logbook()};
  for (const Text& text : texts) {
    double shorter = 5;
    for (const std::size_t order : {0, 1, 2, 5}) {
      INFO(text.name << ", order " << order);
      const double loss = CharacterModel(text.train, order).loss(text.held_out);
      CHECK(loss < shorter);
      CHECK(loss > 0.4);
      shorter = loss;
    }
    CHECK(shorter < 0.7);
    for (const Text& other : texts) {
      if (other.name == text.name) continue;
      CHECK(CharacterModel(text.train, 5).loss(other.held_out) > 3);
    }
  }
}

TEST_CASE("make_text passes over held-out pieces that are learned", "[texts]") {
  int calls = 0;
  const Text text = make_text("name", [&] {
    ++calls;
    // The learned 400,000 characters once more, before anything new.
    const int piece = calls <= 800 ? calls % 400 : calls;
    std::string line = std::to_string(piece);
    line.resize(999, ' ');
    return line + "\n";
  });
  CHECK(text.train.size() == 400'000);
  CHECK(text.held_out.size() == 40'000);
  CHECK(text.held_out.substr(0, 3) == "801");
}

TEST_CASE("characters and codes are one another's inverse", "[texts]") {
  const std::string text = "Day 7: \"No wind\"?\n";
  std::string back;
  for (const float code : encode(text)) back += decode(code);
  CHECK(back == text);
  CHECK(encode("\n") == std::vector<float>{0});
  CHECK_THROWS_WITH(encode("a#b"), contains("encode: the texts have no character \"#\""));
}

TEST_CASE("a grammar keeps what it is told to keep", "[grammar]") {
  const Grammar grammar{{"start", "{a:animal} and {b:animal}: {a}, {b}, {7..7}{empty}."},
                        {"animal", "fox|hen"},
                        {"empty", ""}};
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Dice dice(seed);
    Grammar::Kept kept;
    seen.insert(grammar.expand("start", kept, dice));
  }
  CHECK(seen == std::set<std::string>{"fox and hen: fox, hen, 7.", "hen and fox: hen, fox, 7."});
}

TEST_CASE("a grammar draws every alternative and every number", "[grammar]") {
  const Grammar grammar{{"start", "a|b|{8..10}"}};
  std::set<std::string> seen;
  Dice dice(0);
  for (int i = 0; i < 100; ++i) {
    Grammar::Kept kept;
    seen.insert(grammar.expand("start", kept, dice));
  }
  CHECK(seen == std::set<std::string>{"a", "b", "8", "9", "10"});
  Grammar::Kept kept;
  CHECK_THROWS_WITH(grammar.expand("stop", kept, dice),
                    contains("grammar: \"stop\" is neither a rule nor kept"));
}

TEST_CASE("consecutive windows are the text, each character with the next", "[windows]") {
  const std::string text = "abcdefghijklmnopq";
  Windows windows(text, 2, 4);
  REQUIRE(windows.count() == 2);
  std::string inputs, labels;
  for (lora::index_t i = 0; i < 2; ++i) {
    const Batch& batch = windows.consecutive(i);
    CHECK(batch.codes.shape() == lora::Shape{2, 4});
    CHECK(batch.next.shape() == lora::Shape{8});
    for (const float code : batch.codes.span()) inputs += decode(code);
    for (const std::int32_t code : batch.next.span()) labels += kCharacters[std::size_t(code)];
  }
  CHECK(inputs == "abcdefghijklmnop");
  CHECK(labels == "bcdefghijklmnopq");
  CHECK(Windows(text.substr(0, 16), 2, 4).count() == 1);  // nothing is behind the last character
  CHECK_THROWS_WITH(Windows("abcdefgh", 2, 4),
                    contains("windows: expected a text of more than 8 characters, found 8"));
}

TEST_CASE("drawn windows lie anywhere, and depend on the seed alone", "[windows]") {
  const std::string text = "abcdefghijkl";
  Windows windows(text, 2, 4, 5), same(text, 2, 4, 5), other(text, 2, 4, 6);
  std::set<float> begins;
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const Batch& batch = windows.draw();
    const std::vector<float> drawn(batch.codes.span().begin(), batch.codes.span().end());
    const auto again = same.draw().codes.span(), others = other.draw().codes.span();
    REQUIRE(drawn == std::vector<float>(again.begin(), again.end()));
    differs = differs || drawn != std::vector<float>(others.begin(), others.end());
    for (std::size_t k = 0; k < 8; ++k) {
      REQUIRE(drawn[k] == drawn[k / 4 * 4] + static_cast<float>(k % 4));
      REQUIRE(static_cast<float>(batch.next[static_cast<lora::index_t>(k)]) == drawn[k] + 1);
    }
    begins.insert({drawn[0], drawn[4]});
  }
  CHECK(differs);
  const auto other_first = Windows(text, 2, 4, 6).draw().codes;
  other.restart();
  CHECK(other.draw().codes.span()[0] == other_first.span()[0]);
  CHECK(begins.size() == 8);  // the window and the character behind it fit from a to h
}
