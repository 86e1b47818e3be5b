// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace example_support {

/// Shows how far a loop has come, its rate, the time left and the running mean of the loss: one
/// line that is drawn again on a terminal, plain lines at every tenth elsewhere.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::int64_t total, bool quiet, std::FILE* out = stderr);

  /// One more step is done.
  void step(double loss);

  /// Ends the line with the total time.
  void finish();

  double seconds() const;

 private:
  std::string text() const;
  void draw();

  std::string label_;
  std::int64_t total_;
  bool quiet_;
  std::FILE* out_;
  bool terminal_;
  bool color_;
  bool unicode_;
  std::int64_t done_ = 0;
  double loss_ = 0;
  int tenths_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
};

}  // namespace example_support
