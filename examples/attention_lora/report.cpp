// SPDX-License-Identifier: MIT
#include "attention_lora/report.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <lora/nn/parameter_count.hpp>

#include "attention_lora/tables.hpp"
#include "support/chart.hpp"
#include "support/format.hpp"
#include "support/page.hpp"

namespace attention_lora {

using namespace example_support;
using lora::with_thousands_separators;

namespace {

void draw(Chart& chart, const Phase& phase, double Losses::*text, const std::string& style) {
  std::vector<std::pair<double, double>> points;
  const double last = std::max(1, phase.curve.back().step);
  for (const Phase::Point& point : phase.curve) {
    points.emplace_back(point.step / last, point.losses.*text);
  }
  chart.curve(points, style);
}

std::string sample_block(const char* title, const Outcome& outcome) {
  return std::string("<h3>") + title + "</h3>\n<pre style=\"white-space: pre-wrap\">" +
         escaped(outcome.sample) + "</pre>\n";
}

std::string settings_table(const StudyResult& result) {
  const Settings& s = result.settings;
  std::string targets;
  for (const std::string& name : s.target_modules) targets += (targets.empty() ? "" : ", ") + name;
  std::string html = "<table>\n" + row({"seed", std::to_string(s.seed)});
  html += row({"device, threads", format("%s, %d", s.device.c_str(), s.threads)});
  html += row({"layers, dim, heads, context",
               format("%d, %d, %d, %d", s.layers, s.dim, s.heads, s.context)});
  html +=
      row({"pretraining", format("%d batches of %d, learning rate %g", s.steps, s.batch, s.lr)});
  html += row({"LoRA", format("rank %d, alpha %g, on ", s.rank, s.alpha) + targets});
  html += row({"its training", format("%d batches, learning rate %g", s.adapt_steps, s.adapt_lr)});
  html += row({"full fine-tuning", format("%d batches, learning rate %g", s.adapt_steps, s.lr)});
  html += row({"parameters", with_thousands_separators(result.base_parameters)});
  html += row({"added by LoRA", with_thousands_separators(result.lora_parameters)});
  html += row({"seconds in all", format("%.1f", result.total_seconds)});
  return html + "</table>\n";
}

}  // namespace

std::string curve_chart(const Phase& phase, const Phase* other) {
  double largest = 0;
  for (const Phase* each : {&phase, other}) {
    if (!each) continue;
    for (const auto& [step, losses] : each->curve) {
      largest = std::max({largest, losses.fables, losses.logbook});
    }
  }
  Chart chart("Loss on both texts over the batches", largest);
  draw(chart, phase, &Losses::fables, "stroke: var(--after)");
  draw(chart, phase, &Losses::logbook, "stroke: var(--other)");
  if (other) {
    draw(chart, *other, &Losses::fables, "stroke: var(--after); stroke-dasharray: 6 4");
    draw(chart, *other, &Losses::logbook, "stroke: var(--other); stroke-dasharray: 6 4");
  }
  chart.count_below(static_cast<std::size_t>(phase.curve.back().step), "batch");
  return chart.finish();
}

std::string report_html(const StudyResult& result) {
  const std::string keys =
      "<span class=\"soft\">" + key("after", "fables") + key("other", "logbook");
  std::string html = "<p class=\"soft\">Seed " + std::to_string(result.settings.seed) +
                     ": a transformer of " + with_thousands_separators(result.base_parameters) +
                     " parameters learns fables, character by character; then either adapters of " +
                     with_thousands_separators(result.lora_parameters) +
                     " parameters, the rest frozen, or all weights learn a ship's log.</p>\n";
  html += "<p class=\"verdict\">" + escaped(verdict(result)) + "</p>\n<table>\n";
  const auto cells = comparison_cells(result);
  for (std::size_t i = 0; i < cells.size(); ++i) html += row(cells[i], i == 0 ? "th" : "td");
  html +=
      "</table>\n<p class=\"soft\">Loss on what was held out of each text, nats a character.</p>\n";
  if (!result.pretraining.loss.empty()) {
    html +=
        "<h2>Pretraining on the fables" + keys + "</span></h2>\n" + curve_chart(result.pretraining);
    html += "<h2>Adapting to the logbook" + keys + ", dashed: full fine-tuning</span></h2>\n" +
            curve_chart(result.adaptation, &result.full_finetuning);
    html += "<h2>Loss of the batches of pretraining</h2>\n" + loss_chart(result.pretraining.loss);
  }
  html += "<h2>What they write</h2>\n" + sample_block("Pretrained on the fables", result.base) +
          sample_block("With LoRA on", result.lora_on) +
          sample_block("After full fine-tuning", result.full);
  html += "<h2>Settings and counts</h2>\n" + settings_table(result);
  return page("LoRA on a small transformer", html);
}

}  // namespace attention_lora
