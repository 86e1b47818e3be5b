// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>

// Merging as a transaction: the whole model, or nothing.

namespace lora::inline v0 {

struct MergeOptions {
  /// The largest ‖W' - (W + Δ)‖ / ‖Δ‖ of a layer that is accepted: above it, too much of the
  /// update is lost to rounding.
  double max_relative_error = 1e-2;
};

struct MergedLayer {
  std::string path;
  MergeError error;
};

using MergeReport = std::vector<MergedLayer>;

/// A table, a line a layer.
inline std::string to_string(const MergeReport& report) {
  std::string text = "layer                  max error  relative error  update lost  patch bytes\n";
  for (const auto& [path, error] : report) {
    char line[160];
    std::snprintf(line, sizeof line, "%-22s %9.2e  %14.2e  %10.4f%%  %11zu\n", path.c_str(),
                  error.max_error, error.relative_error, 100 * error.lost, error.patch_bytes);
    text += line;
  }
  return text;
}

/// What merge() would do to each layer, without doing it.
template <class T>
MergeReport check_merge(Module<T>& module) {
  MergeReport report;
  for (const auto& [path, layer] : lora_layers(module)) {
    report.push_back({path, layer->merge_error()});
  }
  return report;
}

/// Merges the active adapters of every layer: LoRALinear::merge(). Everything is checked first;
/// when a weight would not be finite, or a layer's error is above the threshold, ValueError lists
/// every such layer, and nothing has changed. Nor has it when the merging itself fails half-way.
template <class T>
MergeReport merge(Module<T>& module, const MergeOptions& options = {}) {
  MergeReport report = check_merge(module);
  std::string faults;
  for (const auto& [path, error] : report) {
    char text[96];
    if (!error.finite) {
      faults += "; " + path + " would not be finite";
    } else if (error.relative_error > options.max_relative_error) {
      std::snprintf(text, sizeof text, " would lose %.3g of its update, accepted is %.3g",
                    error.relative_error, options.max_relative_error);
      faults += "; " + path + text;
    }
  }
  if (!faults.empty()) throw ValueError("merge: nothing was merged: " + faults.substr(2));

  std::vector<LoRALayer<T>*> done;
  try {
    for (const auto& [path, layer] : lora_layers(module)) {
      if (layer->merged()) continue;
      layer->merge();
      done.push_back(layer);
    }
  } catch (...) {
    for (LoRALayer<T>* layer : done) layer->unmerge();
    throw;
  }
  return report;
}

/// Takes the updates out of all weights again, to the bit.
template <class T>
void unmerge(Module<T>& module) {
  for (const auto& [path, layer] : lora_layers(module)) layer->unmerge();
}

}  // namespace lora::inline v0
