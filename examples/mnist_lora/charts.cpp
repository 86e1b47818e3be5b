// SPDX-License-Identifier: MIT
#include "mnist_lora/charts.hpp"

#include <algorithm>
#include <cmath>

#include "mnist_lora/format.hpp"

namespace mnist_lora {

namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 280;
constexpr double kLeft = 52;
constexpr double kRight = 24;
constexpr double kTop = 14;
constexpr double kBottom = 40;

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

// The frame of a chart: horizontal lines with their values, and what maps numbers to the paper.
class Frame {
 public:
  Frame(const std::string& label, double largest) {
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

  double y(double value) const {
    return kTop + (kHeight - kTop - kBottom) * (1 - value / top_value_);
  }
  double x(double share) const { return kLeft + (kWidth - kLeft - kRight) * share; }

  void add(const std::string& element) { svg_ += element + "\n"; }
  void text(const char* css_class, double x, double y, const std::string& content) {
    add(format("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
               css_class, x, y, content.c_str()));
  }
  std::string finish() { return svg_ + "</svg>\n"; }

 private:
  double top_value_;
  std::string svg_;
};

}  // namespace

double tick_step(double largest) {
  const double rough = std::max(largest, 1e-9) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

double largest_errors(const Sweep& sweep) {
  const SweepNumbers before = numbers_before(sweep.rows().front());
  double largest = std::max(before.target_errors.mean, before.other_errors.mean);
  for (const Sweep::Row& row : sweep.rows()) {
    const SweepNumbers after = numbers_after(row);
    for (const Spread& s : {after.target_errors, after.other_errors}) {
      largest = std::max(largest, s.mean + s.deviation);
    }
  }
  return largest;
}

std::string error_chart(const StudyResult& result) {
  int largest = 1;
  for (std::size_t digit = 0; digit < 10; ++digit) {
    largest = std::max({largest, result.pretrained.wrong[digit], result.lora_on.wrong[digit]});
  }
  Frame frame("Errors of each digit, pretrained and with LoRA on", largest);
  const double group = frame.x(0.1) - frame.x(0);
  const double bar = group * 0.36;
  for (std::size_t digit = 0; digit < 10; ++digit) {
    const double centre = frame.x((static_cast<double>(digit) + 0.5) / 10);
    const auto draw = [&](const char* css_class, double left, int errors) {
      frame.add(
          format("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                 "rx=\"2\"/>",
                 css_class, left, frame.y(errors), bar, frame.y(0) - frame.y(errors)));
      frame.text("value", left + bar / 2, frame.y(errors) - 4, std::to_string(errors));
    };
    draw("before", centre - bar - 1, result.pretrained.wrong[digit]);
    draw("after", centre + 1, result.lora_on.wrong[digit]);
    const bool target = is_target(result.settings, static_cast<int>(digit));
    frame.text(target ? "label target" : "label", centre, kHeight - kBottom + 18,
               std::to_string(digit));
    if (target) frame.text("tick", centre, kHeight - kBottom + 32, "target");
  }
  return frame.finish();
}

std::string loss_chart(const std::vector<double>& losses) {
  const std::size_t points = std::min<std::size_t>(losses.size(), 200);
  std::vector<double> means;
  for (std::size_t i = 0; i < points; ++i) {
    const std::size_t begin = losses.size() * i / points;
    const std::size_t end = losses.size() * (i + 1) / points;
    double sum = 0;
    for (std::size_t k = begin; k < end; ++k) sum += losses[k];
    means.push_back(sum / static_cast<double>(end - begin));
  }
  Frame frame("Loss over the batches",
              means.empty() ? 1 : *std::max_element(means.begin(), means.end()));
  std::string path;
  for (std::size_t i = 0; i < points; ++i) {
    const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(points);
    path += format("%s%.1f %.1f", i ? " L" : "M", frame.x(share), frame.y(means[i]));
  }
  if (!path.empty()) frame.add("<path class=\"line\" d=\"" + path + "\"/>");
  for (int i = 0; i <= 4; ++i) {
    frame.text("tick", frame.x(i / 4.0), kHeight - kBottom + 18,
               std::to_string(losses.size() * static_cast<std::size_t>(i) / 4));
  }
  frame.text("tick", frame.x(0.5), kHeight - 6, "batch");
  return frame.finish();
}

std::string sweep_chart(const Sweep& sweep) {
  const std::size_t count = sweep.rows().size();
  const SweepNumbers before = numbers_before(sweep.rows().front());
  Frame frame("Errors on the target and the other digits for each " + sweep.key(),
              largest_errors(sweep));
  const auto level = [&](const char* css_class, const Spread& errors) {
    frame.add(format("<line class=\"%s level\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>",
                     css_class, kLeft, kWidth - kRight, frame.y(errors.mean),
                     frame.y(errors.mean)));
  };
  level("after", before.target_errors);
  level("other", before.other_errors);
  const auto share = [&](std::size_t i) {
    return (static_cast<double>(i) + 0.5) / static_cast<double>(count);
  };
  const double bar = std::min(0.36 * (frame.x(share(1)) - frame.x(share(0))), 60.0);
  const auto draw = [&](const char* css_class, double left, const Spread& errors) {
    frame.add(
        format("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
               "rx=\"2\"/>",
               css_class, left, frame.y(errors.mean), bar, frame.y(0) - frame.y(errors.mean)));
    const double high = errors.mean + errors.deviation;
    if (errors.deviation > 0) {
      frame.add(format("<line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                       left + bar / 2, left + bar / 2, frame.y(high),
                       frame.y(std::max(0.0, errors.mean - errors.deviation))));
    }
    frame.text("value", left + bar / 2, frame.y(high) - 4, format("%.0f", errors.mean));
  };
  for (std::size_t i = 0; i < count; ++i) {
    const double centre = frame.x(share(i));
    const SweepNumbers after = numbers_after(sweep.rows()[i]);
    draw("after", centre - bar - 1, after.target_errors);
    draw("other", centre + 1, after.other_errors);
    frame.text("label", centre, kHeight - kBottom + 18, sweep.rows()[i].value);
  }
  frame.text("tick", frame.x(0.5), kHeight - 6, sweep.key());
  return frame.finish();
}

}  // namespace mnist_lora
