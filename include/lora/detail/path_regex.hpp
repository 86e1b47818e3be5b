// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/error.hpp>

namespace lora::inline v0::detail {

/// A regular expression of Python's `re`, for the dotted paths of modules and from files that are
/// not trusted. std::regex will not do: it recurses once a character and backtracks exponentially.
/// This one runs all ways through the expression at once (Thompson, 1968), so that its time is at
/// most the product of both lengths.
///
/// Refused are what is no regular language (back-references), look-behind, look-ahead within
/// look-ahead, flags, possessive and atomic groups, and what is not ASCII.
class PathRegex {
 public:
  /// Throws ValueError, which names the expression, where it is refused.
  explicit PathRegex(std::string_view expression) : text_(expression) {
    if (text_.size() > kMaxText) {
      throw ValueError("the regular expression has " + std::to_string(text_.size()) +
                       " characters, expected at most " + std::to_string(kMaxText));
    }
    alternatives();
    if (at_ != text_.size()) fail("a ')' without its '('");
    emit(Op::match);
  }

  /// Whether the whole path is matched, as by re.fullmatch.
  bool matches(std::string_view path) const { return run(0, path, 0, true); }

 private:
  static constexpr std::size_t kMaxText = 100'000;
  static constexpr int kMaxDepth = 50, kMaxRepeats = 1000;

  enum class Op : std::uint8_t {
    set,
    jump,
    split,
    begin,
    end,
    boundary,
    no_boundary,
    ahead,
    not_ahead,
    match
  };
  using Set = std::bitset<128>;

  // Targets are relative, so that a fragment can be copied.
  struct Instruction {
    Op op;
    std::int32_t next = 1, other = 0;
    std::uint32_t set = 0;  // in sets_
  };

  [[noreturn]] void fail(const std::string& what) const {
    constexpr std::size_t kShown = 200;
    std::string shown(text_.substr(0, kShown));
    if (text_.size() > kShown) shown += "...";
    throw ValueError("the regular expression \"" + shown + "\" has " + what + " at character " +
                     std::to_string(at_ + 1));
  }

  std::size_t emit(Op op) {
    require_room(1);
    program_.push_back({op});
    return program_.size() - 1;
  }

  // Repetitions may not make much of a short text.
  void require_room(std::size_t more) const {
    if (program_.size() + more > 4 * text_.size() + 200) fail("too many repetitions");
  }

  void emit_set(const Set& set) {
    const std::size_t at = emit(Op::set);
    const auto found = std::find(sets_.begin(), sets_.end(), set);
    program_[at].set = static_cast<std::uint32_t>(found - sets_.begin());
    if (found == sets_.end()) sets_.push_back(set);
  }

  std::int32_t to_end(std::size_t from) const {
    return static_cast<std::int32_t>(program_.size() - from);
  }

  bool more() const { return at_ < text_.size(); }
  bool take(std::string_view text) {
    if (text_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  void alternatives() {
    if (++depth_ > kMaxDepth) fail("groups nested too deep");
    std::vector<std::size_t> jumps;
    while (true) {
      const std::size_t fork = emit(Op::jump);
      while (more() && text_[at_] != '|' && text_[at_] != ')') repeated_atom();
      if (!take("|")) break;
      jumps.push_back(emit(Op::jump));
      program_[fork] = {Op::split, 1, to_end(fork)};
    }
    for (const std::size_t jump : jumps) program_[jump].next = to_end(jump);
    --depth_;
  }

  void repeated_atom() {
    const std::size_t begin = program_.size();
    emit(Op::jump);  // which may become a fork past the atom
    const bool repeats = atom();
    const std::size_t place = at_;
    const auto [least, most] = quantifier();
    if (at_ == place) return;
    if (!repeats) fail("a repeated assertion");
    take("?");  // the same paths match whichever way is tried first
    if (is_quantifier()) fail("a repeated or possessive repetition");
    repeat(begin, least, most);
  }

  // {1, 1} where there is none; a most of -1 is no limit.
  std::pair<int, int> quantifier() {
    if (take("*")) return {0, -1};
    if (take("+")) return {1, -1};
    if (take("?")) return {0, 1};
    const std::size_t place = at_;
    if (take("{")) {
      const int least = number(0);
      const bool has_comma = take(",");
      const bool has_number = at_ > place + (has_comma ? 2 : 1);
      const int most = has_comma ? number(-1) : least;
      if (take("}") && (has_number || most >= 0)) {
        if (most >= 0 && most < least) fail("a repetition of more than its most times");
        return {least, most};
      }
    }
    at_ = place;
    return {1, 1};
  }

  bool is_quantifier() {
    const std::size_t place = at_;
    quantifier();
    return std::exchange(at_, place) != place;
  }

  int number(int otherwise) {
    int value = 0;
    const std::size_t begin = at_;
    for (; more() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value * 10 + (text_[at_] - '0');
      if (value > kMaxRepeats) fail("a repetition of more than 1000 times");
    }
    return at_ == begin ? otherwise : value;
  }

  // Replaces the fragment from `begin` on by its repetition.
  void repeat(std::size_t begin, int least, int most) {
    const auto first = program_.begin() + static_cast<std::ptrdiff_t>(begin);
    const std::vector<Instruction> body(first, program_.end());
    program_.erase(first, program_.end());
    const auto append = [&] {
      require_room(body.size());
      program_.insert(program_.end(), body.begin(), body.end());
    };
    for (int i = 0; i < least; ++i) append();
    if (most < 0) {
      const std::size_t fork = emit(Op::split);
      append();
      const std::size_t back = emit(Op::jump);
      program_[back].next = -static_cast<std::int32_t>(back - fork);
      program_[fork].other = to_end(fork);
    }
    std::vector<std::size_t> forks;
    for (int i = least; i < most; ++i) {
      forks.push_back(emit(Op::split));
      append();
    }
    for (const std::size_t fork : forks) program_[fork].other = to_end(fork);
    emit(Op::jump);
  }

  // Returns whether it can be repeated.
  bool atom() {
    if (take("(")) return group();
    if (take("^")) return emit(Op::begin), false;
    if (take("$")) return emit(Op::end), false;
    if (take("\\")) return escape();
    if (take("[")) return emit_set(bracket()), true;
    if (take(".")) return emit_set(~one_of("\n")), true;
    const char c = text_[at_];
    if (is_quantifier()) fail("nothing to repeat");
    emit_set(of(c));
    ++at_;
    return true;
  }

  bool group() {
    const bool is_negative = take("?!");
    if (is_negative || take("?=")) return look_ahead(is_negative), false;
    if (take("?P<")) {
      const std::size_t close = text_.find('>', at_);
      if (close == text_.npos) fail("a group's name without its end");
      at_ = close + 1;
    } else if (!take("?:") && more() && text_[at_] == '?') {
      fail("a kind of group that is not supported");
    }
    alternatives();
    if (!take(")")) fail("a '(' without its ')'");
    return true;
  }

  void look_ahead(bool is_negative) {
    if (std::exchange(in_look_ahead_, true)) fail("look-ahead within look-ahead");
    const std::size_t look = emit(is_negative ? Op::not_ahead : Op::ahead);
    alternatives();
    if (!take(")")) fail("a '(' without its ')'");
    emit(Op::match);
    program_[look].next = to_end(look);
    in_look_ahead_ = false;
  }

  bool escape() {
    if (!more()) fail("a backslash and nothing after it");
    if (take("b")) return emit(Op::boundary), false;
    if (take("B")) return emit(Op::no_boundary), false;
    if (take("A")) return emit(Op::begin), false;
    if (take("Z")) return emit(Op::end), false;
    emit_set(escaped_set());
    return true;
  }

  // What the character after a backslash stands for, in or out of brackets.
  Set escaped_set() {
    const char c = more() ? text_[at_] : '\0';
    constexpr std::string_view kKinds = "dDwWsS";
    Set set;
    if (kKinds.find(c) != kKinds.npos && c != '\0') {
      for (unsigned i = 0; i < 128; ++i) {
        const char one = static_cast<char>(i);
        set[i] = (c | 32) == 'd'   ? one >= '0' && one <= '9'
                 : (c | 32) == 'w' ? is_word(one)
                                   : one == ' ' || (one >= '\t' && one <= '\r');
      }
      if (c < 'a') set.flip();
    } else if (c == '\0' || (is_word(c) && c != '_')) {
      fail("an escape that is not supported");
    } else {
      set = of(c);
    }
    ++at_;
    return set;
  }

  Set bracket() {
    Set set;
    const bool is_negative = take("^");
    for (bool first = true; first || !take("]"); first = false) {
      if (!more()) fail("a '[' without its ']'");
      if (take("\\")) {
        set |= escaped_set();
        continue;
      }
      const char low = text_[at_++];
      const bool is_range = at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      const char high = is_range ? text_[at_ + 1] : low;
      if (is_range) at_ += 2;
      if (high == '\\' || high < low) fail("a range that is not supported");
      for (char c = low;; ++c) {
        set |= of(c);
        if (c == high) break;
      }
    }
    return is_negative ? ~set : set;
  }

  Set of(char c) const {
    if (static_cast<unsigned char>(c) >= 128) fail("a character that is not ASCII");
    return Set().set(static_cast<unsigned char>(c));
  }
  Set one_of(std::string_view characters) const {
    Set set;
    for (const char c : characters) set |= of(c);
    return set;
  }

  static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }

  // The places in the program where a run may be, each once, and how they came to be.
  struct Places {
    explicit Places(std::size_t size) : is_in(size) {}
    std::vector<bool> is_in;
    std::vector<std::size_t> list;
  };

  // Whether the program from `start` on matches the path from `from` on: all of it, or a part.
  bool run(std::size_t start, std::string_view path, std::size_t from, bool whole) const {
    Places places(program_.size());
    std::vector<std::size_t> starts{start};
    for (std::size_t i = from;; ++i) {
      for (const std::size_t place : places.list) places.is_in[place] = false;
      places.list.clear();
      const bool matched = follow(starts, path, i, places);
      if (matched && (!whole || i == path.size())) return true;
      if (i == path.size()) return false;
      starts.clear();
      const auto c = static_cast<unsigned char>(path[i]);
      for (const std::size_t place : places.list) {
        const Instruction& instruction = program_[place];
        if (instruction.op == Op::set && c < 128 && sets_[instruction.set][c]) {
          starts.push_back(place + 1);
        }
      }
    }
  }

  // Adds every place that can be reached without a character; returns whether one is a match.
  bool follow(std::vector<std::size_t>& stack, std::string_view path, std::size_t i,
              Places& places) const {
    bool matched = false;
    while (!stack.empty()) {
      const std::size_t place = stack.back();
      stack.pop_back();
      if (places.is_in[place]) continue;
      places.is_in[place] = true;
      places.list.push_back(place);
      const Instruction& instruction = program_[place];
      const auto go = [&](std::int32_t by) {
        stack.push_back(static_cast<std::size_t>(static_cast<std::int64_t>(place) + by));
      };
      if (instruction.op == Op::match) {
        matched = true;
      } else if (instruction.op == Op::split) {
        go(instruction.other);
        go(instruction.next);
      } else if (instruction.op != Op::set && holds(instruction.op, place, path, i)) {
        go(instruction.next);
      }
    }
    return matched;
  }

  bool holds(Op op, std::size_t place, std::string_view path, std::size_t i) const {
    const auto is_boundary = [&] {
      const bool before = i > 0 && is_word(path[i - 1]);
      return before != (i < path.size() && is_word(path[i]));
    };
    switch (op) {
      case Op::begin:
        return i == 0;
      case Op::end:
        return i == path.size();
      case Op::boundary:
        return is_boundary();
      case Op::no_boundary:
        return !is_boundary();
      case Op::ahead:
        return run(place + 1, path, i, false);
      case Op::not_ahead:
        return !run(place + 1, path, i, false);
      default:
        return true;
    }
  }

  std::string text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool in_look_ahead_ = false;
  std::vector<Instruction> program_;
  std::vector<Set> sets_;
};

/// The path as a regular expression that matches nothing else.
inline std::string regex_escaped(std::string_view path) {
  std::string text;
  for (const char c : path) {
    const bool is_plain =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!is_plain) text += '\\';
    text += c;
  }
  return text;
}

}  // namespace lora::inline v0::detail
