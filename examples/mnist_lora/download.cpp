// SPDX-License-Identifier: MIT
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <lora/data/gz.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>

#include "mnist_lora/data_source.hpp"

extern char** environ;

namespace mnist_lora {

namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 2> kMirrors{
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
};

// Runs a program from PATH and waits for it. Returns its exit status, or -1 when there is none.
int run_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) {
    return -1;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool fetch(const std::string& url, const fs::path& to) {
  if (run_program({"curl", "--fail", "--location", "--silent", "--show-error", "--proto", "=https",
                   "--connect-timeout", "5", "--max-time", "300", "--output", to.string(), url}) ==
      0) {
    return true;
  }
  return run_program({"wget", "--quiet", "--https-only", "--connect-timeout=5", "--read-timeout=60",
                      "--tries=1", "--output-document", to.string(), url}) == 0;
}

// A file that is removed at the end, whatever happens.
struct Temporary {
  fs::path path;
  ~Temporary() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

}  // namespace

void download_mnist(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  for (const lora::MnistFile& file : lora::kMnistFiles) {
    if (!lora::find_mnist_file<lora::GzReader>(folder, file.name).empty()) continue;
    const std::string name = std::string(file.name) + ".gz";
    lora::AtomicFile target(folder / name);
    const Temporary part{folder / (name + ".part" + std::to_string(getpid()))};
    std::string fault = name + ": no mirror could be reached (curl and wget were tried)";
    for (const char* mirror : kMirrors) {
      std::fprintf(stderr, "Downloading %s%s to %s\n", mirror, name.c_str(), folder.c_str());
      if (!fetch(mirror + name, part.path)) continue;
      try {
        lora::require_published(file, "MNIST", lora::GzReader{}(part.path, file.bytes),
                                mirror + name);
        const std::vector<std::uint8_t> bytes = lora::RawReader{}(part.path, file.bytes);
        target.write(std::as_bytes(std::span(bytes)));
        target.commit();
        fault.clear();
        break;
      } catch (const lora::FileError& wrong) {
        fault = wrong.what();
      }
    }
    if (!fault.empty()) throw lora::FileError(fault);
  }
}

}  // namespace mnist_lora
