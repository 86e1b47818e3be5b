// SPDX-License-Identifier: MIT
// The study: pretrain a network on MNIST, freeze it, adapt it with LoRA to four digits, compare.
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <lora/data/gz.hpp>
#include <lora/data/mnist.hpp>
#include <lora/lora.hpp>

#include "mnist_lora/result.hpp"
#include "mnist_lora/study.hpp"
#include "mnist_lora/tables.hpp"

namespace {

using namespace mnist_lora;

struct Options {
  Settings settings;
  int seeds = 0;
  bool quiet = false;
};

StudyResult run_study(const Options& options, const lora::Mnist& data) {
  const auto say = [&](const std::string& text) {
    if (options.quiet) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  };
  const auto start = std::chrono::steady_clock::now();
  Study study(options.settings, data, options.quiet);
  study.pretrain();
  study.evaluate_pretrained();
  say("\nThe pretrained network on the test images:\n" +
      evaluation_text(study.result().pretrained) + "\nIts layers:\n" +
      layer_table(study.result(), false));

  const std::vector<std::string> frozen = study.adapt();
  say("\nWith rank-" + std::to_string(options.settings.rank) + " LoRA on every layer:\n" +
      layer_table(study.result(), true) + "  " +
      lora::to_string(lora::count_parameters(study.net())) + "\n\nFrozen:\n");
  for (const std::string& name : frozen) say("  " + name + "\n");
  say("\n");

  study.finetune();
  say("\nChecked:\n");
  for (const std::string& fact : study.check()) say("  " + fact + "\n");
  study.evaluate_lora_on();
  study.evaluate_lora_off();
  StudyResult result = study.result();
  result.total_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  say("\nErrors on the test images:\n" + comparison_table(result) + "\n" + verdict(result) + "\n");
  return result;
}

int run(int argc, char** argv) {
  Options options;
  Settings& s = options.settings;
  s.threads = lora::get_num_threads();
  CLI::App app{"Pretrains a network on MNIST, adapts it with LoRA to some digits, and compares."};
  app.add_option("--data", s.data, "folder of the MNIST files");
  app.add_option("--epochs", s.epochs, "epochs of pretraining")->check(CLI::Range(1, 1000));
  app.add_option("--batch", s.batch, "batch size")->check(CLI::Range(1, 60000));
  app.add_option("--lr", s.lr, "learning rate of Adam")->check(CLI::PositiveNumber);
  app.add_option("--rank", s.rank, "rank of the adapters")->check(CLI::Range(1, 10));
  app.add_option("--alpha", s.alpha, "the update is scaled by alpha / rank");
  app.add_option("--digits", s.digits, "target digits")->delimiter(',')->check(CLI::Range(0, 9));
  app.add_option("--finetune-batches", s.finetune_batches)->check(CLI::Range(1, 1000000));
  app.add_option("--seed", s.seed, "weights and batches of torch.manual_seed(N)");
  app.add_option("--seeds", options.seeds, "run seeds 0 to N-1 and report mean ± deviation");
  app.add_option("--limit-train", s.limit_train, "pretrain on the first N images alone");
  app.add_option("--threads", s.threads, "no result depends on it")->check(CLI::Range(1, 1024));
  app.add_flag("--quiet", options.quiet, "print the result alone");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  lora::set_num_threads(s.threads);
  const lora::Mnist data = lora::load_mnist(
      s.data.empty() ? lora::default_data_dir() : std::filesystem::path(s.data), lora::GzReader{});
  std::printf("Data: %s\n", data.name.c_str());

  std::vector<StudyResult> results;
  if (options.seeds > 1) {
    options.quiet = true;
    for (int seed = 0; seed < options.seeds; ++seed) {
      s.seed = static_cast<std::uint64_t>(seed);
      results.push_back(run_study(options, data));
      const StudyResult& r = results.back();
      std::printf("seed %d: accuracy %.4f, LoRA on %.4f, %.1f s. %s\n", seed,
                  r.pretrained.accuracy(), r.lora_on.accuracy(), r.total_seconds,
                  verdict(r).c_str());
      std::fflush(stdout);
    }
    std::printf("\n%s", seeds_table(results).c_str());
  } else {
    results.push_back(run_study(options, data));
    if (options.quiet) {
      std::printf("%s%s\n", comparison_table(results[0]).c_str(), verdict(results[0]).c_str());
    }
  }
  std::printf("Data: %s\n", data.name.c_str());
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
