// SPDX-License-Identifier: MIT
#include "support/run.hpp"

#include <CLI/CLI.hpp>

#include <lora/error.hpp>
#include <lora/threads.hpp>
#include <lora/version.hpp>

#include "support/output.hpp"

namespace example_support {

void add_machine_options(CLI::App& app, std::string& device, int& threads) {
  threads = lora::get_num_threads();
  app.add_option("--device", device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("NAME");
  app.add_option("--threads", threads, "CPU threads; no result depends on it")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

lora::Device choose_device(const std::string& wanted) {
  const std::string reason = lora::why_unavailable(lora::Device::cuda);
  if (wanted == "cuda" && !reason.empty()) throw lora::DeviceError(reason);
  if (wanted == "auto" && !reason.empty()) print("Device: cpu, because " + reason + "\n");
  return wanted == "cpu" || !reason.empty() ? lora::Device::cpu : lora::Device::cuda;
}

std::string version() {
  return std::to_string(lora::kVersion.major) + "." + std::to_string(lora::kVersion.minor) + "." +
         std::to_string(lora::kVersion.patch);
}

}  // namespace example_support
