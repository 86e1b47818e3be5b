// SPDX-License-Identifier: MIT
#include "support/chart.hpp"

#include <algorithm>
#include <cmath>

#include "support/format.hpp"

namespace example_support {

namespace {

// In the chart itself, so that it is a picture on its own as well as a part of a page.
constexpr const char* kStyle = R"(<style>
svg { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; --ink: #1d2330; --soft: #5d6676;
  --line: #e3e6eb; --before: #9aa5b8; --after: #2f6fdb; --other: #d98324; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6e9ef; --soft: #98a1b2; --line: #2b313c;
  --before: #66718a; --after: #6ea2ff; --other: #eda24f; } }
.grid { stroke: var(--line); }
.tick, .value, .label { fill: var(--soft); font-size: 11px; }
.value { font-size: 10px; }
.label { font-size: 14px; fill: var(--ink); }
.target { font-weight: 700; }
.before { fill: var(--before); }
.after { fill: var(--after); }
.other { fill: var(--other); }
.level { stroke-width: 1.6; stroke-dasharray: 6 6; }
.after.level { stroke: var(--after); }
.other.level { stroke: var(--other); stroke-dashoffset: 6; }
.whisker { stroke: var(--ink); stroke-opacity: .55; }
.line { fill: none; stroke: var(--after); stroke-width: 1.6; stroke-linejoin: round; }
</style>
)";

}  // namespace

Chart::Chart(const std::string& label, double largest) {
  const double step = tick_step(largest);
  top_value_ = std::max(step, std::ceil(largest / step) * step);
  svg_ = format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\" "
      "aria-label=\"%s\">\n",
      kWidth, kHeight, label.c_str());
  svg_ += kStyle;
  for (double value = 0; value <= top_value_ * 1.001; value += step) {
    svg_ += format("<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft,
                   kWidth - kRight, y(value), y(value));
    svg_ += format("<text class=\"tick\" x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                   kLeft - 8, y(value) + 4, value);
  }
}

void Chart::text(const char* css_class, double x, double y, const std::string& content) {
  add(format("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", css_class,
             x, y, content.c_str()));
}

void Chart::curve(const std::vector<std::pair<double, double>>& points, const std::string& style) {
  if (points.empty()) return;
  std::string path;
  for (const auto& [share, value] : points) {
    path += format("%s%.1f %.1f", path.empty() ? "M" : " L", x(share), y(value));
  }
  add("<path class=\"line\" d=\"" + path + "\"" +
      (style.empty() ? "" : " style=\"" + style + "\"") + "/>");
}

void Chart::count_below(std::size_t last, const std::string& what) {
  for (std::size_t i = 0; i <= 4; ++i) {
    text("tick", x(static_cast<double>(i) / 4), kHeight - kBottom + 18,
         std::to_string(last * i / 4));
  }
  text("tick", x(0.5), kHeight - 6, what);
}

std::string loss_chart(const std::vector<double>& losses) {
  const std::size_t count = std::min<std::size_t>(losses.size(), 200);
  std::vector<std::pair<double, double>> means;
  double largest = losses.empty() ? 1 : 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = losses.size() * i / count;
    const std::size_t end = losses.size() * (i + 1) / count;
    double sum = 0;
    for (std::size_t k = begin; k < end; ++k) sum += losses[k];
    means.emplace_back((static_cast<double>(i) + 0.5) / static_cast<double>(count),
                       sum / static_cast<double>(end - begin));
    largest = std::max(largest, means.back().second);
  }
  Chart chart("Loss over the batches", largest);
  chart.curve(means);
  chart.count_below(losses.size(), "batch");
  return chart.finish();
}

double tick_step(double largest) {
  const double rough = std::max(largest, 1e-9) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

}  // namespace example_support
