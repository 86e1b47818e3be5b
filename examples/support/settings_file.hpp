// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace example_support {

/// Writes settings beside the weights that were made with them. Throws lora::FileError.
void save_settings(const std::filesystem::path& path, const nlohmann::ordered_json& settings);

/// Throws lora::FileError when the file has other settings than those of this run.
void require_settings(const std::filesystem::path& path, const nlohmann::ordered_json& expected);

}  // namespace example_support
