// SPDX-License-Identifier: MIT
// Trains a small transformer on one text, adapts it to another, with LoRA and in full, compares.
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include <lora/lora.hpp>

#include "attention_lora/json_output.hpp"
#include "attention_lora/options.hpp"
#include "attention_lora/report.hpp"
#include "attention_lora/study.hpp"
#include "attention_lora/tables.hpp"
#include "support/output.hpp"
#include "support/run.hpp"

namespace {

using namespace attention_lora;
using namespace example_support;

StudyResult run_study(const Options& options, lora::Device device) {
  const auto say = [&](const std::string& text) {
    if (!options.quiet) print(text);
  };
  const auto start = std::chrono::steady_clock::now();
  Study study(options.settings, fables(), logbook(), options.quiet, device);
  say(model_text(study.result()) + "\n");
  if (options.load.empty()) {
    study.pretrain();
    study.evaluate_base();
    study.adapt();
    study.finetune_fully();
  } else {
    study.load(options.load);
    study.evaluate_base();
  }
  say("\nChecked:\n");
  for (const std::string& fact : study.check()) say("  " + fact + "\n");
  study.evaluate_lora();
  study.evaluate_full();
  StudyResult result = study.result();
  result.total_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.settings.sample > 0) {
    say("\n" + sample_text("The pretrained model writes", result.base.sample) +
        sample_text("\nWith LoRA on", result.lora_on.sample) +
        sample_text("\nAfter full fine-tuning", result.full.sample) + "\n");
  }
  if (!options.save.empty()) study.save(options.save);
  return result;
}

int run(int argc, char** argv) {
  Options options;
  if (const auto status = parse_options(argc, argv, options)) return *status;
  require_writable({options.save, options.write_texts}, {options.report, options.json});
  if (!options.write_texts.empty()) {
    for (const Text& text : {fables(), logbook()}) write_text(text, options.write_texts);
    return 0;
  }
  const lora::Device device = choose_device(options.settings.device);
  lora::set_num_threads(options.settings.threads);
  const StudyResult result = run_study(options, device);
  if (!options.report.empty()) write_file(options.report, report_html(result));
  if (!options.json.empty()) write_file(options.json, to_json(result).dump(2) + "\n");
  print(comparison_table(result) + "\n" + verdict(result) + "\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attention_lora: %s\n", error.what());
    return 1;
  }
}
