// SPDX-License-Identifier: MIT
#include "mnist_lora/options.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>

#include <lora/threads.hpp>

namespace mnist_lora {

std::optional<int> parse_options(int argc, char** argv, Options& options) {
  Settings& s = options.settings;
  s.threads = lora::get_num_threads();
  CLI::App app{"Pretrains a network on MNIST, adapts it with LoRA to some digits, and compares."};
  app.get_formatter()->column_width(28);

  app.add_option("--data", s.data, "folder of MNIST's files, or: fashion, synthetic")
      ->type_name("DIR");
  app.add_flag("--download", options.download, "fetch the files of MNIST that are missing");
  app.add_flag("--data-only", options.data_only, "find and check the data, then stop");
  app.add_option("--device", s.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("NAME");
  app.add_option("--threads", s.threads, "CPU threads; no result depends on it")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");

  app.add_option("--seed", s.seed, "weights and batches of torch.manual_seed(N)")->type_name("N");
  app.add_option("--seeds", options.seeds, "run seeds 0 to N-1: mean ± standard deviation")
      ->check(CLI::Range(2, 1000))
      ->type_name("N");
  app.add_option("--epochs", s.epochs, "epochs of pretraining (1)")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  app.add_option("--batch", s.batch, "batch size (10)")
      ->check(CLI::Range(1, 60000))
      ->type_name("N");
  app.add_option("--lr", s.lr, "learning rate of Adam (0.001)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--limit-train", s.limit_train, "pretrain on the first N images alone")
      ->check(CLI::Range(1, 60000))
      ->type_name("N");

  app.add_option("--rank", s.rank, "rank of the adapters (1)")
      ->check(CLI::Range(1, 10))
      ->type_name("R");
  app.add_option("--alpha", s.alpha, "their product is scaled by alpha / rank (1)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--digits", s.digits, "target digits (3,6,8,9)")
      ->delimiter(',')
      ->check(CLI::Range(0, 9))
      ->type_name("LIST");
  app.add_option("--finetune-batches", s.finetune_batches, "batches of fine-tuning (100)")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N");

  app.add_option("--save", options.save, "write the network and its adapters into DIR")
      ->type_name("DIR");
  app.add_option("--load", options.load, "take what was saved instead of training")
      ->type_name("DIR");
  app.add_option("--images", options.images, "write pictures into DIR")->type_name("DIR");
  app.add_option("--report", options.report, "write one HTML page")->type_name("FILE");
  app.add_option("--json", options.json, "write the results as JSON")->type_name("FILE");
  app.add_flag("--quiet", options.quiet, "print the result alone");

  try {
    app.parse(argc, argv);
    std::sort(s.digits.begin(), s.digits.end());
    if (std::adjacent_find(s.digits.begin(), s.digits.end()) != s.digits.end()) {
      throw CLI::ValidationError("--digits", "a digit is named twice");
    }
    for (const auto* path : {&options.save, &options.load, &options.images, &options.report}) {
      if (options.seeds > 0 && !path->empty()) {
        throw CLI::ValidationError("--seeds", "only --json can be written for several seeds");
      }
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace mnist_lora
