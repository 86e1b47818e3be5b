// SPDX-License-Identifier: MIT
#include "support/progress.hpp"

#include <algorithm>
#include <utility>

#include "support/format.hpp"

namespace example_support {

ProgressBar::ProgressBar(std::string label, std::int64_t total, bool quiet, std::FILE* out)
    : line_(std::move(label), total, quiet, out) {}

void ProgressBar::step(double loss) {
  ++done_;
  // A mean over about the last hundred steps, and over all of them at first.
  const double weight = 1.0 / static_cast<double>(std::min<std::int64_t>(done_, 100));
  loss_ += weight * (loss - loss_);
  if (!line_.is_due(done_)) return;
  const double elapsed = seconds();
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  line_.draw(done_, format("%5lld/%lld  %6.1f batches/s  %5.1f s left  loss %.4f",
                           static_cast<long long>(done_), static_cast<long long>(line_.total()),
                           rate, line_.seconds_left(done_), loss_));
}

void ProgressBar::finish() {
  const double elapsed = seconds();
  line_.finish(format("%lld batches in %.1f s, %.0f a second, last losses %.4f on average",
                      static_cast<long long>(done_), elapsed,
                      static_cast<double>(done_) / std::max(elapsed, 1e-9), loss_));
}

namespace {

double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

}  // namespace

ByteProgress::ByteProgress(std::string label, std::uint64_t total, bool quiet, std::FILE* out)
    : line_(std::move(label), static_cast<std::int64_t>(total), quiet, out) {}

void ByteProgress::update(std::uint64_t done) {
  done_ = static_cast<std::int64_t>(done);
  if (!line_.is_due(done_)) return;
  const double elapsed = seconds();
  line_.draw(done_, format("%8.1f of %.1f MB  %7.1f MB/s  %5.1f s left", megabytes(done_),
                           megabytes(line_.total()), elapsed > 0 ? megabytes(done_) / elapsed : 0,
                           line_.seconds_left(done_)));
}

void ByteProgress::finish() {
  const double elapsed = seconds();
  line_.finish(format("%.1f MB in %.1f s, %.1f MB/s", megabytes(done_), elapsed,
                      megabytes(done_) / std::max(elapsed, 1e-9)));
}

}  // namespace example_support
