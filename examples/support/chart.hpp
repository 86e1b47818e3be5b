// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace example_support {

/// A chart as an SVG picture, light or dark as the reader has it: horizontal lines with their
/// values, and what maps numbers to the paper.
class Chart {
 public:
  static constexpr double kWidth = 720;
  static constexpr double kHeight = 280;
  static constexpr double kLeft = 52;
  static constexpr double kRight = 24;
  static constexpr double kTop = 14;
  static constexpr double kBottom = 40;

  /// Values go from 0 to `largest` or a little more.
  Chart(const std::string& label, double largest);

  double y(double value) const {
    return kTop + (kHeight - kTop - kBottom) * (1 - value / top_value_);
  }

  /// A share of the width, from 0 at the left to 1 at the right.
  double x(double share) const { return kLeft + (kWidth - kLeft - kRight) * share; }

  void add(const std::string& element) { svg_ += element + "\n"; }
  void text(const char* css_class, double x, double y, const std::string& content);

  /// A line through points (share of the width, value), none without points. `style` is CSS, such
  /// as a colour of its own: "stroke: var(--other)".
  void curve(const std::vector<std::pair<double, double>>& points, const std::string& style = "");

  /// Numbers from 0 to `last` below the chart, and what they count.
  void count_below(std::size_t last, const std::string& what);

  std::string finish() { return svg_ + "</svg>\n"; }

 private:
  double top_value_;
  std::string svg_;
};

/// The loss over the batches; long runs are averaged to at most 200 points.
std::string loss_chart(const std::vector<double>& losses);

/// 1, 2 or 5 times a power of ten, so that about five of them make `largest`.
double tick_step(double largest);

}  // namespace example_support
