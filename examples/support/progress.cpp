// SPDX-License-Identifier: MIT
#include "support/progress.hpp"

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

}  // namespace

ProgressBar::ProgressBar(std::string label, std::int64_t total, bool quiet, std::FILE* out)
    : label_(std::move(label)),
      total_(total),
      quiet_(quiet),
      out_(out),
      terminal_(isatty(fileno(out)) != 0),
      color_(terminal_ && !has_value("NO_COLOR")),
      unicode_(speaks_unicode()),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {}

double ProgressBar::seconds() const {
  return seconds_between(start_, std::chrono::steady_clock::now());
}

void ProgressBar::step(double loss) {
  ++done_;
  // A mean over about the last hundred steps, and over all of them at first.
  const double weight = 1.0 / static_cast<double>(std::min<std::int64_t>(done_, 100));
  loss_ += weight * (loss - loss_);
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  if (terminal_ ? seconds_between(drawn_, now) < 0.1 : done_ * 10 < total_ * (tenths_ + 1)) return;
  drawn_ = now;
  tenths_ = static_cast<int>(done_ * 10 / std::max<std::int64_t>(total_, 1));
  draw();
}

std::string ProgressBar::text() const {
  const double elapsed = seconds();
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  char line[160];
  std::snprintf(line, sizeof line, "%5lld/%lld  %6.1f batches/s  %5.1f s left  loss %.4f",
                static_cast<long long>(done_), static_cast<long long>(total_), rate, left, loss_);
  return line;
}

void ProgressBar::draw() {
  if (!terminal_) {
    std::fprintf(out_, "%s  %s\n", label_.c_str(), text().c_str());
    return;
  }
  constexpr std::int64_t kWidth = 24;
  const std::int64_t filled = total_ ? kWidth * done_ / total_ : kWidth;
  std::string bar;
  for (std::int64_t i = 0; i < kWidth; ++i) {
    bar += i < filled ? (unicode_ ? "\u2501" : "#") : (unicode_ ? "\u2500" : ".");
  }
  std::fprintf(out_, "\r%s  %s%s%s  %s\x1b[K", label_.c_str(), color_ ? "\x1b[36m" : "",
               bar.c_str(), color_ ? "\x1b[0m" : "", text().c_str());
  std::fflush(out_);
}

void ProgressBar::finish() {
  if (quiet_) return;
  const double elapsed = seconds();
  std::fprintf(out_, "%s%s: %lld batches in %.1f s, %.0f a second, last losses %.4f on average%s\n",
               terminal_ ? "\r" : "", label_.c_str(), static_cast<long long>(done_), elapsed,
               static_cast<double>(done_) / std::max(elapsed, 1e-9), loss_,
               terminal_ ? "\x1b[K" : "");
}

}  // namespace example_support
