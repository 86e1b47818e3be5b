// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

namespace lora_test {

/// A regular file that is on no disk, for parsers that take a path.
class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("fuzz", MFD_CLOEXEC)) {}
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(file_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

  void set(std::span<const std::uint8_t> bytes) {
    if (ftruncate(file_, 0) != 0 ||
        pwrite(file_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
      std::perror("MemoryFile");
      std::abort();
    }
  }

 private:
  int file_;
};

/// Ends the program, which the fuzzer takes for a finding, unless it holds.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Reads every byte, so that a sanitizer sees those that are not there.
template <class T>
void touch(std::span<const T> values) {
  static volatile std::uint8_t sum = 0;
  for (const std::byte byte : std::as_bytes(values)) {
    sum = static_cast<std::uint8_t>(sum + std::to_integer<std::uint8_t>(byte));
  }
}

/// Reads a tensor of a file as Ts, of which it must have so many bytes.
template <class T, class File>
void read_tensor(const File& file, const std::string& name, std::size_t bytes) {
  const auto tensor = file.template read<T>(name);
  require(tensor.span().size_bytes() == bytes, "a tensor has its bytes");
  touch(tensor.span());
}

}  // namespace lora_test
