// SPDX-License-Identifier: MIT
#include "mnist_lora/charts.hpp"

#include <algorithm>

#include "support/chart.hpp"
#include "support/format.hpp"

namespace mnist_lora {

using example_support::Chart;
using example_support::format;

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
  Chart chart("Errors of each digit, pretrained and with LoRA on", largest);
  const double group = chart.x(0.1) - chart.x(0);
  const double bar = group * 0.36;
  for (std::size_t digit = 0; digit < 10; ++digit) {
    const double centre = chart.x((static_cast<double>(digit) + 0.5) / 10);
    const auto draw = [&](const char* css_class, double left, int errors) {
      chart.add(
          format("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                 "rx=\"2\"/>",
                 css_class, left, chart.y(errors), bar, chart.y(0) - chart.y(errors)));
      chart.text("value", left + bar / 2, chart.y(errors) - 4, std::to_string(errors));
    };
    draw("before", centre - bar - 1, result.pretrained.wrong[digit]);
    draw("after", centre + 1, result.lora_on.wrong[digit]);
    const bool target = is_target(result.settings, static_cast<int>(digit));
    chart.text(target ? "label target" : "label", centre, Chart::kHeight - Chart::kBottom + 18,
               std::to_string(digit));
    if (target) chart.text("tick", centre, Chart::kHeight - Chart::kBottom + 32, "target");
  }
  return chart.finish();
}

std::string sweep_chart(const Sweep& sweep) {
  const std::size_t count = sweep.rows().size();
  const SweepNumbers before = numbers_before(sweep.rows().front());
  Chart chart("Errors on the target and the other digits for each " + sweep.key(),
              largest_errors(sweep));
  const auto level = [&](const char* css_class, const Spread& errors) {
    chart.add(format("<line class=\"%s level\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>",
                     css_class, Chart::kLeft, Chart::kWidth - Chart::kRight, chart.y(errors.mean),
                     chart.y(errors.mean)));
  };
  level("after", before.target_errors);
  level("other", before.other_errors);
  const auto share = [&](std::size_t i) {
    return (static_cast<double>(i) + 0.5) / static_cast<double>(count);
  };
  const double bar = std::min(0.36 * (chart.x(share(1)) - chart.x(share(0))), 60.0);
  const auto draw = [&](const char* css_class, double left, const Spread& errors) {
    chart.add(
        format("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
               "rx=\"2\"/>",
               css_class, left, chart.y(errors.mean), bar, chart.y(0) - chart.y(errors.mean)));
    const double high = errors.mean + errors.deviation;
    if (errors.deviation > 0) {
      chart.add(format("<line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                       left + bar / 2, left + bar / 2, chart.y(high),
                       chart.y(std::max(0.0, errors.mean - errors.deviation))));
    }
    chart.text("value", left + bar / 2, chart.y(high) - 4, format("%.0f", errors.mean));
  };
  for (std::size_t i = 0; i < count; ++i) {
    const double centre = chart.x(share(i));
    const SweepNumbers after = numbers_after(sweep.rows()[i]);
    draw("after", centre - bar - 1, after.target_errors);
    draw("other", centre + 1, after.other_errors);
    chart.text("label", centre, Chart::kHeight - Chart::kBottom + 18, sweep.rows()[i].value);
  }
  chart.text("tick", chart.x(0.5), Chart::kHeight - 6, sweep.key());
  return chart.finish();
}

}  // namespace mnist_lora
