// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace example_support {

/// Writes to stdout at once.
void print(const std::string& text);

/// Writes a file whole or not at all. Throws lora::FileError.
void write_file(const std::filesystem::path& path, const std::string& content);

/// Makes the folders and tries that files can be written into them, and to the paths of `files`:
/// minutes of training should not end at one that cannot be written to. Empty paths are passed
/// over. Throws lora::FileError.
void require_writable(const std::vector<std::string>& folders,
                      const std::vector<std::string>& files);

}  // namespace example_support
