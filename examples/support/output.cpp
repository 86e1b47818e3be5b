// SPDX-License-Identifier: MIT
#include "support/output.hpp"

#include <cstdio>
#include <system_error>

#include <lora/error.hpp>
#include <lora/io/file.hpp>

namespace example_support {

namespace fs = std::filesystem;

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void write_file(const fs::path& path, const std::string& content) {
  lora::AtomicFile file(path);
  file.write(content);
  file.commit();
}

void require_writable(const std::vector<std::string>& folders,
                      const std::vector<std::string>& files) {
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw lora::FileError(folder + ": cannot be made: " + error.message());
    lora::AtomicFile probe(fs::path(folder) / "probe");
  }
  for (const std::string& file : files) {
    if (!file.empty()) lora::AtomicFile probe(file);
  }
}

}  // namespace example_support
