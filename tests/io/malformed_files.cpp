// SPDX-License-Identifier: MIT
// Every malformed file is refused in less than a second of processor time and with less than 64 MB
// of memory. Each is parsed in a process of its own, for only so can both be bounded and measured.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <lora/data/gz.hpp>
#include <lora/data/idx.hpp>
#include <lora/error.hpp>
#include <lora/io/gguf.hpp>
#include <lora/io/safetensors.hpp>

#include "support/malformed_gguf.hpp"
#include "support/malformed_idx.hpp"
#include "support/malformed_safetensors.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;

// AddressSanitizer keeps freed memory for a while, up to 256 MB. Here what a parser has freed
// shall not count as used.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=1"; }

namespace {

constexpr long kMegabytes = 64;
constexpr rlim_t kSeconds = 1;
constexpr unsigned kWaitSeconds = 60;

enum Outcome { kAccepted, kRefused, kOtherException };

using Parser = std::function<void(const std::string& path)>;

struct Format {
  const char* name;
  Parser parse;
  CraftedFiles malformed, odd;
};

struct Result {
  std::string name;
  int status = 0;  // as wait4 gives it
  double seconds = 0;
  double megabytes = 0;
};

/// Runs work() in a process of its own, which ends with what it returns.
Result in_a_process(const std::string& name, const std::function<int()>& work) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("fork");
    std::exit(2);
  }
  if (child == 0) _exit(work());
  Result result{name};
  rusage usage{};
  wait4(child, &result.status, 0, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  result.seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  result.megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  return result;
}

/// Parses in a process of its own; the memory is what that takes beyond what doing nothing takes.
Result parse_in_a_process(const std::string& name, const Parser& parse, const std::string& path) {
  const double idle = in_a_process(name, [] { return 0; }).megabytes;
  Result result = in_a_process(name, [&] {
    const rlimit limit{kSeconds, kSeconds};
    setrlimit(RLIMIT_CPU, &limit);
    alarm(kWaitSeconds);  // for what waits and takes no time
    try {
      parse(path);
    } catch (const lora::FileError&) {
      return kRefused;
    } catch (...) {
      return kOtherException;
    }
    return kAccepted;
  });
  result.megabytes -= idle;
  return result;
}

/// Says what is wrong, if anything.
std::string fault(const Result& result, Outcome expected) {
  if (WIFSIGNALED(result.status)) {
    const int signal = WTERMSIG(result.status);
    if (signal == SIGXCPU || signal == SIGKILL) return "took more than a second";
    return signal == SIGALRM ? "waited" : "died of signal " + std::to_string(signal);
  }
  const int outcome = WEXITSTATUS(result.status);
  if (outcome != expected) {
    return outcome == kAccepted         ? "was accepted"
           : outcome == kRefused        ? "was refused"
           : outcome == kOtherException ? "gave another exception than FileError"
                                        : "failed with status " + std::to_string(outcome);
  }
  return result.megabytes >= kMegabytes ? "took more than 64 MB" : "";
}

void print_table(const char* title, std::vector<Result> results, double Result::*key) {
  std::sort(results.begin(), results.end(),
            [&](const Result& a, const Result& b) { return a.*key > b.*key; });
  std::printf("%s\n", title);
  for (std::size_t i = 0; i < std::min<std::size_t>(results.size(), 8); ++i) {
    const Result& result = results[i];
    std::printf("  %5.2f s %6.1f MB  %s\n", result.seconds, result.megabytes, result.name.c_str());
  }
}

std::vector<Format> formats() {
  return {{"safetensors", [](const std::string& path) { lora::SafetensorsFile file(path); },
           malformed_safetensors(), odd_safetensors()},
          {"gguf", [](const std::string& path) { lora::GgufFile file(path); }, malformed_gguf(),
           odd_gguf()},
          {"idx",
           [](const std::string& path) { lora::parse_idx(lora::GzReader{}(path, 47040016), path); },
           malformed_idx(), odd_idx()}};
}

}  // namespace

int main() {
  const TemporaryFolder folder;
  const std::string path = folder / "file", pipe = folder / "pipe";
  if (mkfifo(pipe.c_str(), 0600) != 0) return 2;
  std::vector<Result> results;
  int failures = 0;
  const auto check = [&](const Result& result, Outcome expected) {
    results.push_back(result);
    const std::string what = fault(result, expected);
    if (what.empty()) return;
    ++failures;
    std::printf("FAIL %s: %s (%.2f s, %.1f MB)\n", result.name.c_str(), what.c_str(),
                result.seconds, result.megabytes);
  };
  for (const Format& format : formats()) {
    const std::string prefix = std::string(format.name) + ": ";
    const auto check_all = [&](const CraftedFiles& files, Outcome expected) {
      for (const CraftedFile& file : files) {
        // Written in a process of its own too, so that this one, and those that come of it, stay
        // small.
        const auto write = [&] {
          std::ofstream out(path, std::ios::binary);
          out << file.content() << std::flush;
          return out.good() ? 0 : 2;
        };
        if (in_a_process(file.name, write).status != 0) {
          std::printf("FAIL %s: cannot be written\n", file.name.c_str());
          ++failures;
          continue;
        }
        check(parse_in_a_process(prefix + file.name, format.parse, path), expected);
      }
    };
    check_all(format.malformed, kRefused);
    check_all(format.odd, kAccepted);
    for (const std::string& other : {folder.path().string(), pipe, std::string("/dev/zero"),
                                     std::string("/dev/null"), std::string(folder / "nothing")}) {
      check(parse_in_a_process(prefix + "no regular file: " + other, format.parse, other),
            kRefused);
    }
  }
  print_table("the slowest", results, &Result::seconds);
  print_table("the largest", results, &Result::megabytes);
  std::printf("%zu files, %d failures\n", results.size(), failures);
  return failures == 0 && results.size() > 200 ? 0 : 1;
}
