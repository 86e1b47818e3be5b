// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/detail/thread_pool.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/io/merge_plan.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/io/tensor_merge.hpp>
#include <lora/threads.hpp>

namespace lora::inline v0 {

struct MergeFilesOptions {
  /// Put before the adapter's names to get those of the base: "model.", say.
  std::string prefix = {};

  /// How much is worked on at a time, by each thread; more where a row of a matrix is longer.
  std::size_t piece_bytes = std::size_t{1} << 20;
};

/// Told now and then, never by two threads at a time, how many of all bytes are written.
using MergeProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// Writes the files of one merge, piece by piece. A piece depends on no other, so that threads take
/// the next one whenever they are free.
template <class T>
class FilesMerge {
 public:
  FilesMerge(const MergePlan<T>& plan, const MergeFilesOptions& options,
             const MergeProgress& progress)
      : plan_(plan), options_(options), progress_(progress) {}

  void add_file(const SafetensorsFile& from, const std::string& to) {
    files_.emplace_back(from, to);
    all_bytes_ += from.contents().size();
    std::vector<std::pair<std::uint64_t, std::string>> changed;
    for (const auto& [name, info] : from.tensors()) {
      if (plan_.count(name) > 0 && info.end > info.begin) changed.emplace_back(info.begin, name);
    }
    std::sort(changed.begin(), changed.end());
    std::size_t copied = 0;
    for (const auto& [begin, name] : changed) {
      const TensorInfo& info = from.info(name);
      add_copies(copied, from.header().size() + begin);
      add_tensor(name, info);
      copied = from.header().size() + info.end;
    }
    add_copies(copied, from.contents().size());
  }

  /// Throws FileError, and no file is changed.
  void run() {
    const int threads = get_num_threads();
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) work();
    });
    if (failure_) std::rethrow_exception(failure_);
    for (File& file : files_) file.to.flush();
  }

  void commit() {
    for (File& file : files_) file.to.commit();
  }

  std::uint64_t bytes() const noexcept { return all_bytes_; }

 private:
  struct File {
    File(const SafetensorsFile& read, const std::string& path) : from(read), to(path) {}
    const SafetensorsFile& from;
    AtomicFile to;
  };

  // A tensor that is changed or replaced.
  struct Changed {
    Changed(const std::string& tensor, const std::string& type, const TensorPlan<T>& of_tensor,
            StoredRows<T> rows)
        : name(tensor), dtype(type), plan(of_tensor), source(std::move(rows)) {}

    std::string name, dtype;
    const TensorPlan<T>& plan;
    StoredRows<T> source;
    std::once_flag once;
    std::unique_ptr<TensorMerge> merge;  // made by the first thread that gets there
    std::atomic<std::size_t> pieces_left{0};
  };

  // Bytes of a file from `offset` on: rows of a tensor, or, without one, a copy.
  struct Piece {
    File* file;
    Changed* tensor;
    std::size_t offset, size;
    index_t first_row, rows;
  };

  void add_copies(std::size_t begin, std::size_t end) {
    for (std::size_t at = begin; at < end; at += options_.piece_bytes) {
      pieces_.push_back(
          {&files_.back(), nullptr, at, std::min(options_.piece_bytes, end - at), 0, 0});
    }
  }

  void add_tensor(const std::string& name, const TensorInfo& info) {
    const TensorPlan<T>& plan = plan_.at(name);
    File& file = files_.back();
    const auto size = static_cast<std::size_t>(info.end - info.begin);
    // What is not a matrix is one row, of whose elements as many as one likes can be copied.
    const bool is_matrix = plan.update || info.shape.size() > 1;
    const std::size_t rows = plan.update ? static_cast<std::size_t>(plan.update->rows)
                             : is_matrix ? info.shape[0]
                                         : 1;
    const std::size_t row_bytes = size / rows;
    tensors_.emplace_back(
        name, info.dtype, plan,
        plan.replacement ? StoredRows<T>(*plan.replacement, info.dtype, row_bytes)
                         : StoredRows<T>(file.from.contents(), file.from.bytes(name), row_bytes));
    Changed& tensor = tensors_.back();
    const std::size_t most =
        whole_tiles(std::max<std::size_t>(1, options_.piece_bytes / row_bytes));
    for (std::size_t row = 0; row < rows; row += most) {
      const std::size_t count = std::min(most, rows - row);
      pieces_.push_back({&file, &tensor, file.from.header().size() + info.begin + row * row_bytes,
                         count * row_bytes, static_cast<index_t>(row),
                         static_cast<index_t>(count)});
      ++tensor.pieces_left;
    }
  }

  // Rounded down to what the loops for all instruction sets have no rest of.
  static std::size_t whole_tiles(std::size_t rows) { return rows < 12 ? rows : rows / 12 * 12; }

  void work() noexcept {
    std::vector<std::byte> memory, result;
    while (!failed_) {
      const std::size_t next = next_++;
      if (next >= pieces_.size()) return;
      try {
        const Piece& piece = pieces_[next];
        piece.tensor ? merge(piece, memory, result) : copy(piece);
        report(piece.size);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failed_.exchange(true)) failure_ = std::current_exception();
      }
    }
  }

  void copy(const Piece& piece) {
    const std::span<const std::byte> all = piece.file->from.contents();
    const std::span<const std::byte> part = all.subspan(piece.offset, piece.size);
    piece.file->to.write_at(piece.offset, part);
    release_pages(all, part);
  }

  void merge(const Piece& piece, std::vector<std::byte>& memory, std::vector<std::byte>& result) {
    Changed& tensor = *piece.tensor;
    const std::span<const std::byte> from = tensor.source.read(piece.first_row, piece.rows, memory);
    std::span<const std::byte> merged = from;
    if (tensor.plan.update) {
      std::call_once(tensor.once, [&] {
        tensor.merge = make_tensor_merge(tensor.dtype, *tensor.plan.update, tensor.source);
      });
      result.resize(piece.size);
      if (!tensor.merge->merge(piece.first_row, from, result)) fail(piece);
      merged = result;
    } else if (!is_finite(tensor.dtype, from)) {
      fail(piece);
    }
    piece.file->to.write_at(piece.offset, merged);
    tensor.source.release(piece.first_row, piece.rows);
    if (--tensor.pieces_left == 0) tensor.merge.reset();
  }

  [[noreturn]] static void fail(const Piece& piece) {
    throw FileError(piece.file->from.path() + ": " + piece.tensor->name +
                    " would not be finite, in " + piece.tensor->dtype +
                    ", with the adapter merged; nothing was written");
  }

  void report(std::size_t bytes) {
    if (!progress_) return;
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    progress_(done_bytes_, all_bytes_);
  }

  const MergePlan<T>& plan_;
  const MergeFilesOptions& options_;
  const MergeProgress& progress_;
  std::deque<File> files_;
  std::deque<Changed> tensors_;
  std::vector<Piece> pieces_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::uint64_t done_bytes_ = 0, all_bytes_ = 0;
};

}  // namespace lora::inline v0::detail
