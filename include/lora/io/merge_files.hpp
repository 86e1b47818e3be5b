// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/file.hpp>
#include <lora/io/files_merge.hpp>
#include <lora/io/merge_plan.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/io/safetensors_model.hpp>

// Merging an adapter into a model's files without the model in memory. Outside the umbrella: what
// reads adapters needs nlohmann-json.

namespace lora::inline v0 {

struct MergeFilesResult {
  std::vector<std::string> files;  ///< that were written
  std::size_t changed = 0;         ///< tensors, those of lora_bias among them
  std::size_t replaced = 0;        ///< of them or besides: modules_to_save and biases
  std::size_t copied = 0;          ///< tensors that are as they were
  std::uint64_t bytes = 0;         ///< of all files
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// Whether what is merged into the model at `base` is a folder, not one file.
inline bool merges_into_folder(const std::string& base) {
  return is_folder(base) || base.ends_with(".json");
}

inline std::string name_within(const std::string& folder, const std::string& path) {
  return path_in(folder, path.substr(path.rfind('/') + 1));
}

/// For each of the model's files the one to write, and last the index's where there is one.
inline std::vector<std::pair<std::string, std::string>> merge_targets(const std::string& base,
                                                                      const SafetensorsModel& model,
                                                                      const std::string& out) {
  std::vector<std::pair<std::string, std::string>> targets;
  for (const auto& file : model.files()) {
    targets.emplace_back(file->path(),
                         merges_into_folder(base) ? name_within(out, file->path()) : out);
  }
  if (!model.index_path().empty()) {
    targets.emplace_back(model.index_path(), name_within(out, model.index_path()));
  }
  return targets;
}

inline void require_apart(const std::vector<std::pair<std::string, std::string>>& targets) {
  for (const auto& from : targets) {
    for (const auto& to : targets) {
      if (!is_same_file(from.first, to.second)) continue;
      throw FileError(to.second + ": is a file of the base, which would be lost");
    }
  }
}

/// A folder must not hold a model in one file and another in shards.
inline void require_one_model(const std::string& folder, bool is_sharded) {
  const char* const other = is_sharded ? SafetensorsModel::kFileName : SafetensorsModel::kIndexName;
  const std::string path = name_within(folder, other);
  if (file_exists(path)) {
    throw FileError(path + ": is there already, and what is written beside it would not be found");
  }
}

/// A folder that is taken away again unless it is kept, where it was not there before.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path) : path_(path), is_new_(!is_folder(path)) {
    make_folder(path);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    if (is_new_) std::remove(path_.c_str());
  }
  void keep() noexcept { is_new_ = false; }

 private:
  std::string path_;
  bool is_new_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// The files that merge_adapter_files() writes. Throws FileError where the base cannot be read.
inline std::vector<std::string> merged_files(const std::string& base, const std::string& out) {
  std::vector<std::string> files;
  for (const auto& target : detail::merge_targets(base, SafetensorsModel(base), out)) {
    files.push_back(target.second);
  }
  return files;
}

/// Writes the model at `base`, a file, an index or a folder as SafetensorsModel takes it, with the
/// adapter merged: a Linear's weight is W + s B A, an Embedding's W + s (B A)ᵀ, a convolution's as
/// a Linear's with its kernels in rows; with DoRA each output's weights then have the length m, as
/// PEFT's merge_and_unload() does. What came with the adapter, modules_to_save and biases, takes
/// the place of the base's. `out` is a file where `base` is one, else a folder, whose files have
/// the base's names.
///
/// A weight is computed in float where it is stored in 16 bits, else in double, and rounded to its
/// type once. All else is copied: headers, the order of tensors, those without an adapter, whatever
/// their type. Threads share the work; no result depends on their number. Memory is that of the
/// adapter and some megabytes a thread.
///
/// Throws FileError, and leaves no file, where a part of the adapter has no tensor in the base or
/// one of another shape or type, where an element would not be finite that was so, where a file of
/// the base would be written over, and where a file cannot be read or written. Only a failure to
/// rename a finished file leaves those renamed before.
template <class T>
MergeFilesResult merge_adapter_files(const std::string& base, const AdapterFile<T>& adapter,
                                     const std::string& out, const MergeFilesOptions& options = {},
                                     const MergeProgress& progress = {}) {
  const SafetensorsModel model(base);
  const detail::MergePlan<T> plan =
      detail::MergePlanner<T>(base, model, adapter, options.prefix).take();
  const auto targets = detail::merge_targets(base, model, out);
  detail::require_apart(targets);

  std::optional<detail::NewFolder> folder;
  const bool is_sharded = !model.index_path().empty();
  if (detail::merges_into_folder(base)) {
    detail::require_one_model(out, is_sharded);
    folder.emplace(out);
  }
  detail::FilesMerge<T> merge(plan, options, progress);
  for (std::size_t i = 0; i < model.files().size(); ++i) {
    merge.add_file(*model.files()[i], targets[i].second);
  }
  merge.run();
  std::optional<AtomicFile> index;
  if (is_sharded) {
    const InputFile read(model.index_path());
    std::vector<std::byte> bytes(read.size());
    read.read_at(0, bytes);
    index.emplace(targets.back().second);
    index->write(bytes);
  }
  merge.commit();
  if (index) index->commit();
  if (folder) folder->keep();

  MergeFilesResult result;
  for (const auto& target : targets) result.files.push_back(target.second);
  for (const auto& [name, of_tensor] : plan) {
    result.changed += of_tensor.update ? 1 : 0;
    result.replaced += of_tensor.replacement ? 1 : 0;
  }
  result.copied = model.names().size() - plan.size();
  result.bytes = merge.bytes();
  return result;
}

}  // namespace lora::inline v0
