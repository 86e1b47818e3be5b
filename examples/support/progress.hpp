// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "support/progress_line.hpp"

namespace example_support {

/// Shows how far a loop has come, its rate, the time left and the running mean of the loss, as
/// ProgressLine does.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::int64_t total, bool quiet, std::FILE* out = stderr);

  /// One more step is done.
  void step(double loss);

  /// Ends the line with the total time.
  void finish();

  double seconds() const { return line_.seconds(); }

 private:
  ProgressLine line_;
  std::int64_t done_ = 0;
  double loss_ = 0;
};

/// The same for bytes.
class ByteProgress {
 public:
  ByteProgress(std::string label, std::uint64_t total, bool quiet, std::FILE* out = stderr);

  /// So many bytes are done in all.
  void update(std::uint64_t done);

  void finish();

  double seconds() const { return line_.seconds(); }

 private:
  ProgressLine line_;
  std::int64_t done_ = 0;
};

}  // namespace example_support
