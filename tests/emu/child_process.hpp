// SPDX-License-Identifier: MIT
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace lora_emu_test {

struct ChildResult {
  bool failed;
  std::string output;
};

/// Runs this very program with one test case, and returns what it wrote to both its outputs.
inline ChildResult run_this_program(const std::string& test_case) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  // ThreadSanitizer would sleep for a second at the end of the child.
  const std::string command =
      "TSAN_OPTIONS=atexit_sleep_ms=0 '" + program + "' '" + test_case + "' 2>&1";
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) throw std::runtime_error("popen");
  ChildResult result{false, ""};
  char buffer[4096];
  while (const std::size_t bytes = std::fread(buffer, 1, sizeof buffer, pipe)) {
    result.output.append(buffer, bytes);
  }
  const int status = pclose(pipe);
  result.failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  return result;
}

/// The line of the file that ends with this comment.
inline int line_of(const std::string& path, const std::string& comment) {
  std::ifstream file(path);
  std::string line;
  const std::string ending = "// " + comment;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.ends_with(ending)) return number;
  }
  throw std::runtime_error("no line of " + path + " ends with " + ending);
}

}  // namespace lora_emu_test
