// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace example_support {

/// One line about how far something has come: a bar that is drawn again on a terminal, plain lines
/// at every tenth elsewhere. What it says besides is the caller's.
class ProgressLine {
 public:
  ProgressLine(std::string label, std::int64_t total, bool quiet, std::FILE* out);

  /// Whether it is time for draw(), with `done` of the total.
  bool is_due(std::int64_t done);

  void draw(std::int64_t done, const std::string& text);

  /// Ends the line: "label: text".
  void finish(const std::string& text);

  double seconds() const;

  /// From the mean rate so far.
  double seconds_left(std::int64_t done) const;

  std::int64_t total() const noexcept { return total_; }

 private:
  std::string label_;
  std::int64_t total_;
  bool quiet_;
  std::FILE* out_;
  bool terminal_;
  bool color_;
  bool unicode_;
  std::int64_t tenths_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
};

}  // namespace example_support
