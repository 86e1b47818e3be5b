// SPDX-License-Identifier: MIT
#include "attention_lora/tables.hpp"

#include <array>

#include <lora/nn/parameter_count.hpp>

#include "support/format.hpp"

namespace attention_lora {

using example_support::format;
using lora::with_thousands_separators;

std::string model_text(const StudyResult& result) {
  const Settings& s = result.settings;
  std::string text = format(
      "  %d layers, dim %d, %d heads, context %d: %s parameters\n"
      "  LoRA of rank %d, alpha %g: %s parameters (%.3g %%) on",
      s.layers, s.dim, s.heads, s.context,
      with_thousands_separators(result.base_parameters).c_str(), s.rank, s.alpha,
      with_thousands_separators(result.lora_parameters).c_str(),
      100.0 * static_cast<double>(result.lora_parameters) /
          static_cast<double>(result.base_parameters));
  for (const std::string& path : result.adapted) text += "\n    " + path;
  return text + "\n";
}

std::vector<std::vector<std::string>> comparison_cells(const StudyResult& result) {
  std::vector<std::vector<std::string>> cells{
      {"", "fables", "logbook", "trained", "AdamW's memory", "seconds"}};
  const auto add = [&](const char* name, const Outcome& outcome, const Phase& phase) {
    std::vector<std::string> row{
        name, format("%.4f", outcome.losses.fables), format("%.4f", outcome.losses.logbook), "", "",
        ""};
    if (!phase.loss.empty()) {
      row[3] = with_thousands_separators(phase.trainable);
      row[4] = format("%.1f kB", static_cast<double>(phase.optimizer_bytes()) / 1e3);
      row[5] = format("%.1f", phase.seconds);
    }
    cells.push_back(row);
  };
  add("pretrained on the fables", result.base, result.pretraining);
  add("LoRA on the logbook", result.lora_on, result.adaptation);
  add("the same, switched off", result.lora_off, {});
  add("full fine-tuning on it", result.full, result.full_finetuning);
  return cells;
}

std::string comparison_table(const StudyResult& result) {
  std::string text;
  for (const auto& row : comparison_cells(result)) {
    text += format("  %-24s  %8s  %8s  %9s  %14s  %7s\n", row[0].c_str(), row[1].c_str(),
                   row[2].c_str(), row[3].c_str(), row[4].c_str(), row[5].c_str());
  }
  return text + "  (loss on what was held out of each text, nats a character)\n";
}

std::string sample_text(const std::string& title, const std::string& sample) {
  std::string text = title + ":\n  ";
  for (const char c : sample) text += c == '\n' ? std::string("\n  ") : std::string(1, c);
  return text + "\n";
}

}  // namespace attention_lora
