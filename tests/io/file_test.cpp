// SPDX-License-Identifier: MIT
#include <lora/io/file.hpp>

#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using lora::AtomicFile;
using lora::FileError;
using namespace lora_test;

namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

long files_in(const TemporaryFolder& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), {});
}

void save(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

TEST_CASE("AtomicFile writes and replaces", "[file]") {
  const TemporaryFolder folder;
  save(folder / "a", "old");
  CHECK(content(folder / "a") == "old");
  save(folder / "a", "new");
  CHECK(content(folder / "a") == "new");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("AtomicFile without a commit leaves the old file and nothing else", "[file]") {
  const TemporaryFolder folder;
  save(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("half of the ne");
  }
  CHECK(content(folder / "a") == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("AtomicFile says in one sentence why it cannot write", "[file][errors]") {
  const TemporaryFolder folder;
  save(folder / "file", "x");
  CHECK_THROWS_WITH(AtomicFile(folder / "missing/a"),
                    contains("missing/a: cannot be written: No such file or directory"));
  CHECK_THROWS_WITH(AtomicFile(folder / "file/a"), contains("Not a directory"));
  CHECK_THROWS_WITH(AtomicFile(folder.path()), contains("expected a regular file or none"));
  CHECK_THROWS_WITH(AtomicFile("/dev/full"),
                    contains("/dev/full: expected a regular file or none"));
}

TEST_CASE("a full disk leaves the old file and nothing else", "[file][errors]") {
  const TemporaryFolder folder;
  save(folder / "a", "old");
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // A limit on file sizes gives short writes, then an error, as a full disk does.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save(folder / "a", std::string(3 << 20, 'x'));
    } catch (const FileError&) {
      _exit(42);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(content(folder / "a") == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a killed writer leaves a whole file, old or new", "[file]") {
  const TemporaryFolder folder;
  const std::string a(200000, 'a'), b(200000, 'b');
  save(folder / "f", a);
  const unsigned seed = 7;
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 30; ++round) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      while (true) {
        save(folder / "f", b);
        save(folder / "f", a);
      }
    }
    usleep(static_cast<useconds_t>(random() % 5000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const std::string now = content(folder / "f");
    REQUIRE((now == a || now == b));
  }
}
