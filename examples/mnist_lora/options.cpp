// SPDX-License-Identifier: MIT
#include "mnist_lora/options.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>

#include <lora/error.hpp>

#include "mnist_lora/variant.hpp"
#include "support/run.hpp"

namespace mnist_lora {

using example_support::add_machine_options;

namespace {

// The flags that concern the adapters and their training: those that --sweep may vary.
void add_variant(CLI::App& app, Settings& s) {
  const CLI::Validator share(
      [](std::string& text) {
        double value = 0;
        const bool fits = CLI::detail::lexical_cast(text, value) && value >= 0 && value < 1;
        return fits ? std::string() : "Value " + text + " not at least 0 and below 1";
      },
      "");
  const CLI::Validator known(
      [](std::string& name) {
        try {
          init_of(name);
        } catch (const lora::ValueError& error) {
          return std::string(error.what());
        }
        return std::string();
      },
      "");
  app.add_option("--rank", s.rank, "rank of the adapters, at most 10 on the last layer (1)")
      ->check(CLI::Range(1, 784))
      ->type_name("R");
  app.add_option("--alpha", s.alpha, "LoRA's alpha: the update is scaled by alpha / rank (1)")
      ->type_name("X");
  app.add_flag("--use-rslora", s.use_rslora, "scale it by alpha / sqrt(rank) instead");
  app.add_flag("--use-dora", s.use_dora, "learn the rows' lengths apart from their directions");
  app.add_option("--init", s.init, std::string("how A and B start (normal): ") + kInitNames)
      ->check(known)
      ->type_name("NAME");
  app.add_option("--lora-dropout", s.lora_dropout, "share of the adapters' inputs to drop (0)")
      ->check(share)
      ->type_name("P");
  app.add_option("--finetune-batches", s.finetune_batches, "batches of fine-tuning (100)")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N");
  app.add_option("--finetune-lr", s.finetune_lr, "learning rate of fine-tuning (that of --lr)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--loraplus-lr-ratio", s.loraplus_lr_ratio, "B learns that much faster (1)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--replay", s.replay, "share of other digits among the images of fine-tuning (0)")
      ->check(share)
      ->type_name("F");
}

// Takes "KEY=V1,V2,..." apart.
void read_sweep(const std::string& text, Options& options) {
  const std::size_t at = std::min(text.find('='), text.size());
  options.sweep_key = text.substr(0, at);
  if (at < text.size()) options.sweep_values = CLI::detail::split(text.substr(at + 1), ',');
  const auto& values = options.sweep_values;
  if (at == 0 || values.empty() || std::find(values.begin(), values.end(), "") != values.end()) {
    throw CLI::ValidationError("--sweep", "expected KEY=V1,V2,..., found \"" + text + "\"");
  }
}

}  // namespace

Settings with_value(Settings settings, const std::string& key, const std::string& value) {
  CLI::App app;
  add_variant(app, settings);
  if (key == "help" || !app.get_option_no_throw("--" + key)) {
    std::string keys;
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_single_name() == "help") continue;
      keys += (keys.empty() ? "" : ", ") + option->get_single_name();
    }
    throw lora::ValueError("\"" + key + "\" cannot be varied; there are: " + keys);
  }
  const bool is_flag = app.get_option("--" + key)->get_items_expected_max() == 0;
  if (is_flag && value != "0" && value != "1") {
    throw lora::ValueError("--" + key + ": expected 0 or 1, found \"" + value + "\"");
  }
  try {
    app.parse(std::vector<std::string>{"--" + key + "=" + value});
  } catch (const CLI::ParseError& error) {
    throw lora::ValueError(error.what());
  }
  return settings;
}

std::vector<Settings> variants(const Options& options) {
  if (options.sweep_key.empty()) return {options.settings};
  std::vector<Settings> all;
  for (const std::string& value : options.sweep_values) {
    all.push_back(with_value(options.settings, options.sweep_key, value));
  }
  return all;
}

std::optional<int> parse_options(int argc, char** argv, Options& options) {
  Settings& s = options.settings;
  CLI::App app{"Pretrains a network on MNIST, adapts it with LoRA to some digits, and compares."};
  app.get_formatter()->column_width(28);

  app.add_option("--data", s.data, "folder of MNIST's files, or: fashion, synthetic")
      ->type_name("DIR");
  app.add_flag("--download", options.download, "fetch the files of MNIST that are missing");
  app.add_flag("--data-only", options.data_only, "find and check the data, then stop");
  add_machine_options(app, s.device, s.threads);

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

  app.add_option("--digits", s.digits, "target digits (3,6,8,9)")
      ->delimiter(',')
      ->check(CLI::Range(0, 9))
      ->type_name("LIST");
  add_variant(app, s);
  std::string sweep;
  app.add_option("--sweep", sweep,
                 "run each value of a flag from --rank to --replay on one pretrained network")
      ->type_name("KEY=V1,V2,...");

  app.add_option("--save", options.save, "write the network and its adapters into DIR")
      ->type_name("DIR");
  app.add_option("--load", options.load,
                 "take what was saved instead of training; --sweep takes the network alone")
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
    if (!sweep.empty()) read_sweep(sweep, options);
    try {
      for (const Settings& variant : variants(options)) require_possible(variant);
    } catch (const lora::ValueError& error) {
      throw CLI::ValidationError(sweep.empty() ? "the adapters" : "--sweep", error.what());
    }
    if (!sweep.empty() && !options.save.empty()) {
      throw CLI::ValidationError("--sweep", "there is no one network to --save");
    }
    if (options.seeds > 0 && !options.load.empty()) {
      throw CLI::ValidationError("--seeds", "one saved network cannot be that of several seeds");
    }
    for (const auto* path : {&options.save, &options.images, &options.report}) {
      if (options.seeds > 0 && sweep.empty() && !path->empty()) {
        throw CLI::ValidationError("--seeds", "only --json can be written for several seeds");
      }
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace mnist_lora
