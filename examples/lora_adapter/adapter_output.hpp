// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/io/adapter_file.hpp>
#include <lora/io/resize_adapter_file.hpp>

#include "lora_adapter/command.hpp"

namespace lora_adapter {

/// What the commands take that write an adapter.
struct OutputOptions {
  CommonOptions common;
  std::string path;
  bool force = false;
  std::string dtype = "f32";
};

/// Adds -o/--output, --force, --dtype, and what every command takes.
void add_adapter_output_options(CLI::App& command, OutputOptions& options);

/// Sets the number of threads, and fails now rather than after minutes of work: throws
/// lora::FileError when one of the files is there already or one cannot be written.
void prepare(const OutputOptions& options, const std::vector<std::string>& files);

/// The two files of a folder of PEFT's.
std::vector<std::string> files_of_adapter(const std::string& folder);

/// Writes the folder in the dtype that was asked for.
void write_adapter(const OutputOptions& options, const lora::AdapterFile<float>& adapter);

/// "path  rank 16 -> 8  98.20 % kept", a line for each layer.
std::string table_of(const std::vector<lora::ResizedLayer>& layers);
nlohmann::ordered_json json_of(const std::vector<lora::ResizedLayer>& layers);

/// The longest of the paths, for a column of them.
template <class Layers>
int width_of_paths(const Layers& layers) {
  std::size_t width = 0;
  for (const auto& layer : layers) width = std::max(width, layer.path.size());
  return static_cast<int>(std::min<std::size_t>(width, 80));
}

}  // namespace lora_adapter
