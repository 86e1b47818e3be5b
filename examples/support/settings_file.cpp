// SPDX-License-Identifier: MIT
#include "support/settings_file.hpp"

#include <cstdint>
#include <vector>

#include <lora/data/idx.hpp>
#include <lora/error.hpp>

#include "support/output.hpp"

namespace example_support {

void save_settings(const std::filesystem::path& path, const nlohmann::ordered_json& settings) {
  write_file(path, settings.dump() + "\n");
}

void require_settings(const std::filesystem::path& path, const nlohmann::ordered_json& expected) {
  const std::vector<std::uint8_t> text = lora::RawReader{}(path, 1 << 16);
  const auto saved = nlohmann::ordered_json::parse(text, nullptr, false);
  if (saved != expected) {
    throw lora::FileError(path.string() + ": expected the settings of this run, " +
                          expected.dump() + ", found " +
                          (saved.is_discarded() ? "no JSON" : saved.dump()));
  }
}

}  // namespace example_support
