// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <lora/error.hpp>

// Paths are strings here and wherever the core takes one; a std::filesystem::path becomes one by
// itself. Its header alone is a tenth of what <lora/lora.hpp> costs to compile.
//
// The one file with POSIX calls. Streams would not do: std::ifstream waits for ever on a pipe, and
// std::ofstream does not tell a full disk from success before it is closed and cannot flush to it.

namespace lora::inline v0 {

inline bool file_exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

inline bool is_folder(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// The path of what has that name in a folder.
inline std::string path_in(const std::string& folder, const std::string& name) {
  return folder + (folder.ends_with('/') ? "" : "/") + name;
}

/// Whether both are there and are one, by whatever names and links.
inline bool is_same_file(const std::string& a, const std::string& b) {
  struct stat status_a {
  }, status_b{};
  return ::stat(a.c_str(), &status_a) == 0 && ::stat(b.c_str(), &status_b) == 0 &&
         status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

/// Makes the folder, and those that it lies in, where they are missing. Throws FileError.
inline void make_folder(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0777) != 0 && !is_folder(part)) {
      throw FileError(part + ": cannot be made: " + std::strerror(errno));
    }
    if (end == path.npos) return;
  }
}

/// A file's bytes as memory, which come from the disk when they are first touched. A file that is
/// made shorter meanwhile ends the program, as the system has no other way to say so.
class MappedBytes {
 public:
  MappedBytes() = default;
  MappedBytes(void* address, std::size_t size) noexcept : address_(address), size_(size) {}
  MappedBytes(MappedBytes&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedBytes& operator=(MappedBytes&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedBytes() {
    if (size_ > 0) ::munmap(address_, size_);
  }

  std::span<const std::byte> span() const noexcept {
    return {static_cast<const std::byte*>(address_), size_};
  }

  /// Says that these bytes, a part of span(), are not needed soon: they leave the process's memory
  /// and come back when they are touched again.
  static void release(std::span<const std::byte> part) noexcept {
    static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto address = reinterpret_cast<std::uintptr_t>(part.data());
    const std::uintptr_t first = (address + page - 1) / page * page;
    const std::uintptr_t last = (address + part.size()) / page * page;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

/// A regular file to read from, at any place. A folder, a pipe or a device is refused.
class InputFile {
 public:
  /// Throws FileError when there is no such file or it cannot be read.
  explicit InputFile(std::string path) : path_(std::move(path)) {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would never return.
    file_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file_ < 0) {
      fail(errno == ENOENT ? "there is no such file"
                           : std::string("cannot be read: ") + std::strerror(errno));
    }
    struct stat status {};
    if (::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(file_);
      fail("expected a regular file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }

  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  ~InputFile() { ::close(file_); }

  std::uint64_t size() const noexcept { return size_; }

  /// All of the file. Throws FileError where it cannot be mapped.
  MappedBytes map() const {
    if (size_ == 0) return {};
    void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_, 0);
    if (address == MAP_FAILED) fail(std::string("cannot be mapped: ") + std::strerror(errno));
    return {address, size_};
  }

  /// Fills `to` with the bytes from `offset` on. Throws FileError when there are fewer.
  void read_at(std::uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
      const ssize_t count = ::pread(file_, to.data(), to.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(std::string("cannot be read: ") + std::strerror(errno));
      if (count == 0) fail("the file has become shorter while it was read");
      to = to.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw FileError(path_ + ": " + what); }

  std::string path_;
  int file_;
  std::uint64_t size_ = 0;
};

/// Writes a file that is either all there or not at all, even if the power fails: into a new file
/// beside it, flushed to the disk, which then takes the name. Without commit() the old file stays.
class AtomicFile {
 public:
  /// Throws FileError when the folder cannot be written to, or when the target exists and is no
  /// regular file.
  explicit AtomicFile(std::string target) : target_(std::move(target)) {
    struct stat status {};
    if (::stat(target_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
      throw FileError(target_ + ": expected a regular file or none to write to");
    }
    static std::atomic<unsigned> count{0};
    temporary_ = target_ + ".tmp" + std::to_string(::getpid()) + "." + std::to_string(count++);
    file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0) fail("cannot be written");
  }

  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  ~AtomicFile() { discard(); }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail("cannot be written");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void write(const std::string& text) { write(std::as_bytes(std::span(text))); }

  /// Writes at any place; safe to call from several threads. Where it is called for one place after
  /// the other, what was written before is begun to be flushed to the disk, some megabytes at a
  /// time, so that commit() need not wait for all of it.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written =
          ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      // The file stays open: other threads may be writing to it.
      if (written <= 0) throw FileError(target_ + ": cannot be written: " + std::strerror(errno));
      const auto count = static_cast<std::size_t>(written);
      begin_flush(offset, count);
      bytes = bytes.subspan(count);
      offset += count;
    }
  }

  /// Waits until all that was written is on the disk. Throws FileError.
  void flush() {
    if (::fsync(file_) != 0) fail("cannot be flushed to the disk");
  }

  /// Makes what was written the file. Throws FileError, and the old file stays.
  void commit() {
    flush();
    if (::close(std::exchange(file_, -1)) != 0) fail("cannot be closed");
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be put in place");
    temporary_.clear();
    // The new name is in the folder, which is flushed as well; some file systems cannot do that.
    const std::size_t slash = target_.rfind('/');
    const std::string folder = slash == target_.npos ? "." : target_.substr(0, slash + 1);
    if (const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        handle >= 0) {
      ::fsync(handle);
      ::close(handle);
    }
  }

 private:
  [[noreturn]] void fail(const char* what) {
    const std::string reason = std::strerror(errno);
    discard();
    throw FileError(target_ + ": " + what + ": " + reason);
  }

  // Of the last steps that end within these bytes. Threads wait for each other where each flushes
  // what it has written itself, and steps are cheaper than pages.
  void begin_flush([[maybe_unused]] std::uint64_t offset, [[maybe_unused]] std::uint64_t size) {
#ifdef SYNC_FILE_RANGE_WRITE
    constexpr std::uint64_t kStep = std::uint64_t{8} << 20;
    const std::uint64_t first = offset / kStep, last = (offset + size) / kStep;
    if (first == last) return;
    ::sync_file_range(file_, static_cast<off_t>(first * kStep),
                      static_cast<off_t>((last - first) * kStep), SYNC_FILE_RANGE_WRITE);
#endif
  }

  void discard() noexcept {
    if (file_ >= 0) ::close(std::exchange(file_, -1));
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::string target_, temporary_;
  int file_ = -1;
};

}  // namespace lora::inline v0
