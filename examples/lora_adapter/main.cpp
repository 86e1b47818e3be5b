// SPDX-License-Identifier: MIT
// Inspects, merges, extracts, combines, resizes and converts LoRA adapters.
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "lora_adapter/command.hpp"
#include "support/run.hpp"

int main(int argc, char** argv) {
  CLI::App app{"LoRA adapters in files: looks at them, merges, extracts, combines, converts them."};
  app.set_version_flag("--version", "lora-adapter " + example_support::version());
  app.require_subcommand(1);
  lora_adapter::add_info(app);
  lora_adapter::add_merge(app);
  lora_adapter::add_extract(app);
  lora_adapter::add_combine(app);
  lora_adapter::add_resize(app);
  lora_adapter::add_convert(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lora-adapter: %s\n", error.what());
    return 1;
  }
  return 0;
}
