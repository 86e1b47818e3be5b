// SPDX-License-Identifier: MIT
#include "support/progress_line.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace example_support {

namespace {

double seconds_between(std::chrono::steady_clock::time_point a,
                       std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

bool speaks_unicode() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (!value || !*value) continue;
    const std::string_view locale = value;
    return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

bool has_value(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value;
}

// How many of `parts` are done.
std::int64_t share(std::int64_t done, std::int64_t total, std::int64_t parts) {
  if (total <= 0) return parts;
  return static_cast<std::int64_t>(static_cast<double>(done) / static_cast<double>(total) *
                                   static_cast<double>(parts));
}

}  // namespace

ProgressLine::ProgressLine(std::string label, std::int64_t total, bool quiet, std::FILE* out)
    : label_(std::move(label)),
      total_(total),
      quiet_(quiet),
      out_(out),
      terminal_(isatty(fileno(out)) != 0),
      color_(terminal_ && !has_value("NO_COLOR")),
      unicode_(speaks_unicode()),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {}

double ProgressLine::seconds() const {
  return seconds_between(start_, std::chrono::steady_clock::now());
}

double ProgressLine::seconds_left(std::int64_t done) const {
  return done > 0 ? seconds() / static_cast<double>(done) * static_cast<double>(total_ - done) : 0;
}

bool ProgressLine::is_due(std::int64_t done) {
  if (quiet_) return false;
  const auto now = std::chrono::steady_clock::now();
  const std::int64_t tenths = share(done, total_, 10);
  if (terminal_ ? seconds_between(drawn_, now) < 0.1 : tenths <= tenths_) return false;
  drawn_ = now;
  tenths_ = tenths;
  return true;
}

void ProgressLine::draw(std::int64_t done, const std::string& text) {
  if (!terminal_) {
    std::fprintf(out_, "%s  %s\n", label_.c_str(), text.c_str());
    return;
  }
  constexpr std::int64_t kWidth = 24;
  const std::int64_t filled = share(done, total_, kWidth);
  std::string bar;
  for (std::int64_t i = 0; i < kWidth; ++i) {
    bar += i < filled ? (unicode_ ? "\u2501" : "#") : (unicode_ ? "\u2500" : ".");
  }
  std::fprintf(out_, "\r%s  %s%s%s  %s\x1b[K", label_.c_str(), color_ ? "\x1b[36m" : "",
               bar.c_str(), color_ ? "\x1b[0m" : "", text.c_str());
  std::fflush(out_);
}

void ProgressLine::finish(const std::string& text) {
  if (quiet_) return;
  std::fprintf(out_, "%s%s: %s%s\n", terminal_ ? "\r" : "", label_.c_str(), text.c_str(),
               terminal_ ? "\x1b[K" : "");
}

}  // namespace example_support
