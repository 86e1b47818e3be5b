// SPDX-License-Identifier: MIT
// The study: pretrain a network on MNIST, freeze it, adapt it with LoRA to four digits, compare.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <lora/lora.hpp>

#include "mnist_lora/charts.hpp"
#include "mnist_lora/data_source.hpp"
#include "mnist_lora/json_output.hpp"
#include "mnist_lora/options.hpp"
#include "mnist_lora/pictures.hpp"
#include "mnist_lora/replay.hpp"
#include "mnist_lora/report.hpp"
#include "mnist_lora/study.hpp"
#include "mnist_lora/sweep.hpp"
#include "mnist_lora/tables.hpp"
#include "mnist_lora/variant.hpp"
#include "support/output.hpp"
#include "support/run.hpp"

namespace {

namespace fs = std::filesystem;
using namespace example_support;
using namespace mnist_lora;

std::vector<Picture> make_pictures(Study& study, const lora::Mnist& data) {
  const StudyResult& result = study.result();
  std::vector<Picture> pictures{
      misclassified_picture("misclassified_pretrained",
                            "Wrongly recognised by the pretrained network; in red what each was "
                            "taken for",
                            data.test, result.pretrained),
      misclassified_picture("misclassified_lora_on",
                            "Wrongly recognised with LoRA on; in red what each was taken for",
                            data.test, result.lora_on)};
  for (const auto& [path, layer] : lora::layers_of<lora::LoRALinear<float>>(study.net())) {
    pictures.push_back(update_picture(path, *layer));
  }
  return pictures;
}

void write_picture(const Options& options, const Picture& picture) {
  const std::vector<std::uint8_t> png = encode_png(picture);
  write_file(fs::path(options.images) / (picture.name + ".png"), {png.begin(), png.end()});
}

void write_outputs(const Options& options, Study& study, const StudyResult& result,
                   const lora::Mnist& data) {
  if (!options.save.empty()) study.save(options.save);
  if (options.images.empty() && options.report.empty()) return;
  const std::vector<Picture> pictures = make_pictures(study, data);
  if (!options.images.empty()) {
    write_file(fs::path(options.images) / "errors.svg", error_chart(result));
    for (const Picture& picture : pictures) write_picture(options, picture);
  }
  if (!options.report.empty()) write_file(options.report, report_html(result, pictures));
}

Study pretrained_study(const Options& options, const lora::Mnist& data, lora::Device device) {
  Study study(options.settings, data, options.quiet, device);
  if (options.load.empty()) {
    study.pretrain();
  } else {
    study.load_pretrained(options.load);
  }
  study.evaluate_pretrained();
  return study;
}

StudyResult run_study(const Options& options, const lora::Mnist& data, lora::Device device) {
  const auto say = [&](const std::string& text) {
    if (!options.quiet) print(text);
  };
  const auto start = std::chrono::steady_clock::now();
  Study study = pretrained_study(options, data, device);
  say("\nThe pretrained network on the test images:\n" +
      evaluation_text(study.result().pretrained) + "\nIts layers:\n" +
      layer_table(study.result(), false));

  const std::vector<std::string> frozen = study.adapt();
  say("\nWith LoRA on every layer, " + variant_text(options.settings) + ":\n" +
      layer_table(study.result(), true) + "  " +
      lora::to_string(lora::count_parameters(study.net())) + "\n\nFrozen:\n");
  for (const std::string& name : frozen) say("  " + name + "\n");
  say("\n");
  if (options.load.empty()) say("Fine-tuning: " + training_text(options.settings) + "\n");

  if (options.load.empty()) {
    study.finetune();
  } else {
    study.load_adapter(options.load);
  }
  say("\nChecked:\n");
  for (const std::string& fact : study.check()) say("  " + fact + "\n");
  study.evaluate_lora_on();
  study.evaluate_lora_off();
  StudyResult result = study.result();
  result.total_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  say("\nErrors on the test images:\n");
  write_outputs(options, study, result, data);
  return result;
}

nlohmann::ordered_json run_seeds(Options options, const lora::Mnist& data, lora::Device device) {
  auto runs = nlohmann::ordered_json::array();
  std::vector<StudyResult> results;
  options.quiet = true;
  for (int seed = 0; seed < options.seeds; ++seed) {
    options.settings.seed = static_cast<std::uint64_t>(seed);
    results.push_back(run_study(options, data, device));
    const StudyResult& r = results.back();
    runs.push_back(to_json(r));
    std::printf("seed %d: accuracy %.4f, LoRA on %.4f, %.1f s. %s\n", seed, r.pretrained.accuracy(),
                r.lora_on.accuracy(), r.total_seconds, verdict(r).c_str());
    std::fflush(stdout);
  }
  print("\n" + seeds_table(results));
  return {{"runs", runs}};
}

nlohmann::ordered_json run_sweep(Options options, const lora::Mnist& data, lora::Device device) {
  Sweep sweep(options.sweep_key, options.sweep_values);
  const int seeds = std::max(options.seeds, 1);
  options.quiet = options.quiet || options.seeds > 0;
  for (int seed = 0; seed < seeds; ++seed) {
    if (options.seeds > 0) options.settings.seed = static_cast<std::uint64_t>(seed);
    sweep.run(pretrained_study(options, data, device));
    if (options.seeds > 0) print("seed " + std::to_string(seed) + " is done\n");
  }
  print("\n" + sweep_table(sweep));
  if (!options.images.empty()) {
    write_file(fs::path(options.images) / "sweep.svg", sweep_chart(sweep));
    write_picture(options, sweep_picture(sweep));
  }
  if (!options.report.empty()) write_file(options.report, report_html(sweep, options.settings));
  return to_json(sweep);
}

int run(int argc, char** argv) {
  Options options;
  if (const auto status = parse_options(argc, argv, options)) return *status;
  require_writable({options.save, options.images}, {options.report, options.json});
  const lora::Device device = choose_device(options.settings.device);
  lora::set_num_threads(options.settings.threads);
  const lora::Mnist data = load_data(options.settings.data, options.download);
  const std::string data_line = "Data: " + data.name + "\n";
  print(data_line);
  if (options.data_only) return 0;
  for (const Settings& variant : variants(options)) replayed_images(data.train, variant);

  nlohmann::ordered_json json;
  if (!options.sweep_key.empty()) {
    json = run_sweep(options, data, device);
  } else if (options.seeds > 0) {
    json = run_seeds(options, data, device);
  } else {
    const StudyResult result = run_study(options, data, device);
    print(comparison_table(result) + "\n" + verdict(result) + "\n");
    json = to_json(result);
  }
  if (!options.json.empty()) write_file(options.json, json.dump(2) + "\n");
  print(data_line);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mnist_lora: %s\n", error.what());
    return 1;
  }
}
