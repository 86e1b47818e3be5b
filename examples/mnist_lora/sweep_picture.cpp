// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "mnist_lora/charts.hpp"
#include "mnist_lora/pictures.hpp"
#include "support/chart.hpp"
#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;
using example_support::tick_step;

namespace {

constexpr Color kPaper{255, 255, 255};
constexpr Color kInk{29, 35, 48};
constexpr Color kSoft{93, 102, 118};
constexpr Color kLine{227, 230, 235};
constexpr Color kTarget{47, 111, 219};
constexpr Color kOther{217, 131, 36};

constexpr int kPlotHeight = 300;
constexpr int kLeft = 60;
constexpr int kRight = 20;
constexpr int kTop = 40;
constexpr int kBottom = 56;
constexpr int kBar = 44;
constexpr int kScale = 2;  // of the letters

class Plot {
 public:
  Plot(const Sweep& sweep, double largest) : step_(tick_step(largest)) {
    top_value_ = std::max(step_, std::ceil(largest / step_) * step_);
    std::size_t longest = 0;
    for (const Sweep::Row& row : sweep.rows()) longest = std::max(longest, row.value.size());
    group_ = std::max(2 * kBar + 24, text_width(std::string(longest, 'x'), kScale) + 16);
    const auto count = static_cast<int>(sweep.rows().size());
    picture_ = blank("sweep",
                     "Errors on the target digits (blue) and on the others (orange) for each " +
                         sweep.key() + "; dashed: the pretrained network's",
                     kLeft + count * group_ + kRight, kTop + kPlotHeight + kBottom, kPaper);
    for (double value = 0; value <= top_value_ * 1.001; value += step_) {
      fill_rectangle(picture_, kLeft, y(value), count * group_, 1, kLine);
      const std::string text = format("%g", value);
      write(text, kLeft - 8 - text_width(text, kScale), y(value) - 2 * kScale, kSoft);
    }
  }

  int centre(std::size_t i) const { return kLeft + static_cast<int>(i) * group_ + group_ / 2; }

  void write(const std::string& text, int left, int top, Color color) {
    write_text(picture_, text, left, top, kScale, color);
  }
  void write_centred(const std::string& text, int x, int top, Color color) {
    write(text, x - text_width(text, kScale) / 2, top, color);
  }

  void bar(int left, const Spread& errors, Color color) {
    fill_rectangle(picture_, left, y(errors.mean), kBar, y(0) - y(errors.mean), color);
    const int top = y(errors.mean + errors.deviation);
    const int bottom = y(std::max(0.0, errors.mean - errors.deviation));
    if (errors.deviation > 0) {
      fill_rectangle(picture_, left + kBar / 2, top, 1, bottom - top, kInk);
    }
    write_centred(format("%.0f", errors.mean), left + kBar / 2, top - 7 * kScale, kSoft);
  }

  void dashed_line(const Spread& errors, int offset, Color color) {
    const int right = picture_.width - kRight;
    for (int x = kLeft + offset; x < right; x += 12) {
      fill_rectangle(picture_, x, y(errors.mean), std::min(6, right - x), 2, color);
    }
  }

  void key(int left, const std::string& text, Color color) {
    fill_rectangle(picture_, left, 10, 10, 10, color);
    write(text, left + 16, 10, kInk);
  }

  Picture finish() { return std::move(picture_); }

 private:
  int y(double value) const {
    return kTop + static_cast<int>(std::lround(kPlotHeight * (1 - value / top_value_)));
  }

  double step_, top_value_;
  int group_;
  Picture picture_;
};

}  // namespace

Picture sweep_picture(const Sweep& sweep) {
  const SweepNumbers before = numbers_before(sweep.rows().front());
  Plot plot(sweep, largest_errors(sweep));
  plot.dashed_line(before.target_errors, 0, kTarget);
  plot.dashed_line(before.other_errors, 6, kOther);
  for (std::size_t i = 0; i < sweep.rows().size(); ++i) {
    const SweepNumbers after = numbers_after(sweep.rows()[i]);
    plot.bar(plot.centre(i) - kBar - 1, after.target_errors, kTarget);
    plot.bar(plot.centre(i) + 1, after.other_errors, kOther);
    plot.write_centred(sweep.rows()[i].value, plot.centre(i), kTop + kPlotHeight + 10, kInk);
  }
  plot.key(kLeft, "target", kTarget);
  plot.key(kLeft + 90, "others", kOther);
  plot.write(sweep.key(), kLeft, kTop + kPlotHeight + 34, kSoft);
  return plot.finish();
}

}  // namespace mnist_lora
