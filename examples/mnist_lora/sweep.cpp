// SPDX-License-Identifier: MIT
#include "mnist_lora/sweep.hpp"

#include <algorithm>
#include <utility>

#include <lora/nn/parameter_count.hpp>

#include "mnist_lora/options.hpp"
#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;

namespace {

SweepNumbers numbers(const Sweep::Row& row, Evaluation StudyResult::*evaluation) {
  const auto& targets = row.runs.front().settings.digits;
  const auto on_targets = [&](const StudyResult& r) {
    return static_cast<double>((r.*evaluation).errors_on(targets));
  };
  const auto all = [&](const StudyResult& r) {
    return static_cast<double>((r.*evaluation).errors());
  };
  return {spread(row.runs, [&](const StudyResult& r) { return (r.*evaluation).accuracy(); }),
          spread(row.runs, on_targets),
          spread(row.runs, [&](const StudyResult& r) { return all(r) - on_targets(r); })};
}

// Characters, not bytes.
std::size_t length(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

Sweep::Sweep(std::string key, const std::vector<std::string>& values) : key_(std::move(key)) {
  for (const std::string& value : values) rows_.push_back({value, {}});
}

void Sweep::run(const Study& pretrained) {
  for (Row& row : rows_) {
    Study study(pretrained, with_value(pretrained.result().settings, key_, row.value));
    study.adapt();
    study.finetune();
    study.check();
    study.evaluate_lora_on();
    row.runs.push_back(study.result());
  }
}

SweepNumbers numbers_before(const Sweep::Row& row) {
  return numbers(row, &StudyResult::pretrained);
}

SweepNumbers numbers_after(const Sweep::Row& row) { return numbers(row, &StudyResult::lora_on); }

std::vector<std::vector<std::string>> sweep_cells(const Sweep& sweep) {
  const bool several = sweep.rows().front().runs.size() > 1;
  const auto cell = [&](const Spread& s, int digits) {
    return several ? format("%.*f ± %.*f", digits, s.mean, digits, s.deviation)
                   : format("%.*f", digits, s.mean);
  };
  std::vector<std::vector<std::string>> cells{
      {sweep.key(), "trainable", "seconds", "accuracy", "target errors", "other errors"}};
  const auto add = [&](const std::string& name, const std::string& trainable,
                       const std::string& seconds, const SweepNumbers& n) {
    cells.push_back({name, trainable, seconds, cell(n.accuracy, 4), cell(n.target_errors, 0),
                     cell(n.other_errors, 0)});
  };
  add("pretrained", "", "", numbers_before(sweep.rows().front()));
  for (const Sweep::Row& row : sweep.rows()) {
    const Spread seconds =
        spread(row.runs, [](const StudyResult& r) { return r.finetune_seconds; });
    add(row.value, lora::with_thousands_separators(row.runs.front().lora_parameters),
        format("%.2f", seconds.mean), numbers_after(row));
  }
  return cells;
}

std::string sweep_table(const Sweep& sweep) {
  const auto cells = sweep_cells(sweep);
  std::vector<std::size_t> widths(cells.front().size());
  for (const auto& row : cells) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], length(row[i]));
  }
  std::string text;
  for (const auto& row : cells) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - length(row[i]), ' ');
      line += i == 0 ? "  " + row[i] + space : "  " + space + row[i];
    }
    text += line + "\n";
  }
  const auto runs = sweep.rows().front().runs.size();
  if (runs > 1) text += format("  (mean ± standard deviation over %zu seeds)\n", runs);
  return text;
}

}  // namespace mnist_lora
