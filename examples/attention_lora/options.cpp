// SPDX-License-Identifier: MIT
#include "attention_lora/options.hpp"

#include <CLI/CLI.hpp>

#include "support/run.hpp"

namespace attention_lora {

namespace {

void add_model(CLI::App& app, Settings& s) {
  app.add_option("--dim", s.dim, "width of the model, a multiple of --heads (64)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--layers", s.layers, "blocks of attention and MLP (2)")
      ->check(CLI::Range(1, 100))
      ->type_name("N");
  app.add_option("--heads", s.heads, "heads of attention (4)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--context", s.context, "characters that the model sees (64)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
}

void add_training(CLI::App& app, Settings& s) {
  app.add_option("--seed", s.seed, "of the weights and the batches (0)")->type_name("N");
  app.add_option("--batch", s.batch, "windows a batch (16)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--steps", s.steps, "batches of pretraining (2000)")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N");
  app.add_option("--lr", s.lr, "largest learning rate of AdamW on all weights (0.003)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--rank", s.rank, "rank of the adapters (4)")
      ->check(CLI::Range(1, 4096))
      ->type_name("R");
  app.add_option("--alpha", s.alpha, "LoRA's alpha: the update is scaled by alpha / rank (8)")
      ->type_name("X");
  app.add_option("--target-modules", s.target_modules,
                 "layers with adapters (q_proj,v_proj), or all-linear")
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--adapt-steps", s.adapt_steps, "batches of either way of adapting (500)")
      ->check(CLI::Range(1, 1000000))
      ->type_name("N");
  app.add_option("--adapt-lr", s.adapt_lr, "largest learning rate of the adapters (0.01)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
}

}  // namespace

std::optional<int> parse_options(int argc, char** argv, Options& options) {
  Settings& s = options.settings;
  CLI::App app{
      "Trains a small transformer on fables, adapts it with LoRA to a ship's log, compares."};
  app.get_formatter()->column_width(28);

  example_support::add_machine_options(app, s.device, s.threads);
  add_model(app, s);
  add_training(app, s);
  app.add_option("--sample", s.sample, "characters to write in the end (240)")
      ->check(CLI::Range(0, 100000))
      ->type_name("N");
  app.add_option("--temperature", s.temperature, "of what is written; 0: the likeliest (0.7)")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X");
  app.add_option("--save", options.save, "write the models and the adapters into DIR")
      ->type_name("DIR");
  app.add_option("--load", options.load, "take what was saved instead of training")
      ->type_name("DIR");
  app.add_option("--report", options.report, "write one HTML page")->type_name("FILE");
  app.add_option("--json", options.json, "write the results as JSON")->type_name("FILE");
  app.add_option("--write-texts", options.write_texts, "write both texts into DIR, then stop")
      ->type_name("DIR");
  app.add_flag("--quiet", options.quiet, "print the result alone");

  try {
    app.parse(argc, argv);
    if (s.dim % s.heads != 0) {
      throw CLI::ValidationError(
          "--heads", std::to_string(s.heads) + " do not divide --dim " + std::to_string(s.dim));
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace attention_lora
