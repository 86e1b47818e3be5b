// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/detail/json.hpp>
#include <lora/error.hpp>
#include <lora/io/file.hpp>
#include <lora/io/safetensors.hpp>

// A model too large for one file lies in several, its shards, beside an index: a JSON object whose
// "weight_map" gives the file of each tensor. The names are those of Hugging Face's transformers.

namespace lora::inline v0 {

/// The tensors of a model, in one safetensors file or in shards with an index.
class SafetensorsModel {
 public:
  static constexpr const char* kFileName = "model.safetensors";
  static constexpr const char* kIndexName = "model.safetensors.index.json";

  /// `path` is a safetensors file, an index, or a folder with one of the two under the names above.
  /// Throws FileError on anything but whole, valid files that agree with the index: each tensor in
  /// the one file that it names, no other in them, and no file outside the index's folder.
  explicit SafetensorsModel(const std::string& path) {
    if (is_folder(path)) {
      const bool is_sharded = file_exists(path_in(path, kIndexName));
      if (is_sharded && file_exists(path_in(path, kFileName))) {
        throw FileError(path + ": both " + kFileName + " and " + kIndexName +
                        " are there; name one of them");
      }
      open(path_in(path, is_sharded ? kIndexName : kFileName));
    } else {
      open(path);
    }
  }

  /// The shards, by name; the one file where there is no index.
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const noexcept { return files_; }

  /// The index's path; empty where there is none.
  const std::string& index_path() const noexcept { return index_path_; }

  /// The file with the tensor of that name; null when there is none.
  const SafetensorsFile* find(const std::string& name) const {
    const auto found = file_of_.find(name);
    return found == file_of_.end() ? nullptr : found->second;
  }

  /// The names of all tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    names.reserve(file_of_.size());
    for (const auto& entry : file_of_) names.push_back(entry.first);
    return names;
  }

 private:
  void open(const std::string& path) {
    if (!path.ends_with(".json")) {
      add_file(path);
      return;
    }
    index_path_ = path;
    const std::map<std::string, std::string> weight_map = read_index(path);
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    std::vector<std::string> names;
    for (const auto& [tensor, file] : weight_map) names.push_back(file);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    for (const std::string& name : names) add_file(folder + name);
    for (const auto& [tensor, file] : weight_map) {
      const SafetensorsFile* const found = find(tensor);
      if (!found || found->path() != folder + file) {
        throw FileError(path + ": tensor \"" + tensor + "\" is not in " + file);
      }
    }
    for (const auto& [tensor, file] : file_of_) {
      if (weight_map.count(tensor) == 0) {
        throw FileError(path + ": tensor \"" + tensor + "\" of " + file->path() +
                        " is not in the index");
      }
    }
  }

  void add_file(const std::string& path) {
    files_.push_back(std::make_unique<SafetensorsFile>(path));
    for (const auto& entry : files_.back()->tensors()) {
      const auto [place, is_new] = file_of_.emplace(entry.first, files_.back().get());
      if (is_new) continue;
      throw FileError(path + ": tensor \"" + entry.first + "\" is in " + place->second->path() +
                      " too");
    }
  }

  // The file of each tensor.
  static std::map<std::string, std::string> read_index(const std::string& path) {
    const InputFile file(path);
    if (file.size() > SafetensorsFile::kMaxHeader) {
      throw FileError(path + ": expected an index of at most " +
                      std::to_string(SafetensorsFile::kMaxHeader) + " bytes, found " +
                      std::to_string(file.size()));
    }
    std::string text(file.size(), '\0');
    file.read_at(0, std::as_writable_bytes(std::span(text)));
    detail::JsonReader json(text, path);
    std::map<std::string, std::string> weight_map;
    bool has_map = false;
    json.list('{', '}', [&] {
      const std::string key = json.string();
      json.expect(':');
      if (key != "weight_map") return json.skip_value();
      if (std::exchange(has_map, true)) json.fail("a second weight_map");
      json.list('{', '}', [&] {
        std::string tensor = json.string();
        json.expect(':');
        const auto [place, is_new] = weight_map.emplace(std::move(tensor), json.string());
        if (!is_new) json.fail("tensor \"" + place->first + "\" twice");
        require_plain_name(json, place->second);
      });
    });
    json.expect_end();
    if (!has_map) json.fail("no weight_map");
    return weight_map;
  }

  // An index must not lead to files elsewhere.
  static void require_plain_name(const detail::JsonReader& json, const std::string& name) {
    const bool is_plain = !name.empty() && name[0] != '.' &&
                          name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
    if (!is_plain)
      json.fail("expected the name of a file beside the index, found \"" + name + "\"");
  }

  std::string index_path_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> file_of_;
};

namespace detail {

/// "model-00001-of-00003.safetensors", counting from 1.
inline std::string shard_name(std::size_t number, std::size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

inline std::string index_text(const std::map<std::string, std::string>& weight_map,
                              std::uint64_t total_size) {
  std::string text = "{\n  \"metadata\": {\n    \"total_size\": " + std::to_string(total_size) +
                     "\n  },\n  \"weight_map\": {";
  const char* separator = "\n    ";
  for (const auto& [tensor, file] : weight_map) {
    text += separator + json_quoted(tensor) + ": " + json_quoted(file);
    separator = ",\n    ";
  }
  return text + "\n  }\n}\n";
}

}  // namespace detail

/// Writes tensors into a folder: as model.safetensors where they take at most `max_shard_bytes`,
/// else as shards with an index, filled in the order of the names; a tensor that is larger has a
/// shard for itself. The folder must be there. Each file is written atomically, the index last.
/// Throws FileError.
inline void write_safetensors_model(const std::string& folder, std::vector<TensorEntry> entries,
                                    std::uint64_t max_shard_bytes = std::uint64_t{5} << 30,
                                    const std::map<std::string, std::string>& metadata = {
                                        {"format", "pt"}}) {
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  std::vector<std::vector<TensorEntry>> shards(1);
  std::uint64_t in_shard = 0, total = 0;
  for (TensorEntry& entry : entries) {
    const std::uint64_t size = entry.data.size();
    if (!shards.back().empty() && size > max_shard_bytes - std::min(in_shard, max_shard_bytes)) {
      shards.emplace_back();
      in_shard = 0;
    }
    in_shard += size;
    total += size;
    shards.back().push_back(std::move(entry));
  }
  if (shards.size() == 1) {
    return write_safetensors(path_in(folder, SafetensorsModel::kFileName), std::move(shards[0]),
                             metadata);
  }
  std::map<std::string, std::string> weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = detail::shard_name(i + 1, shards.size());
    for (const TensorEntry& entry : shards[i]) weight_map[entry.name] = name;
    write_safetensors(path_in(folder, name), std::move(shards[i]), metadata);
  }
  AtomicFile index(path_in(folder, SafetensorsModel::kIndexName));
  index.write(detail::index_text(weight_map, total));
  index.commit();
}

}  // namespace lora::inline v0
