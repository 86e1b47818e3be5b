// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <lora/io/adapter_file.hpp>
#include <lora/io/safetensors_model.hpp>

namespace lora_adapter {

/// What there is to say of one layer's adapter.
struct LayerReport {
  std::string module;
  lora::index_t rank = 0;
  double alpha = 0, scale = 0;
  double norm_a = 0, norm_b = 0;  ///< Frobenius, as all but the next but one
  double update = 0;              ///< ‖s B A‖; negative where it has several groups
  double spectral = 0;            ///< its largest singular value
  double base = -1;               ///< ‖W‖; negative where there is no base, or none that fits
};

struct AdapterReport {
  std::vector<LayerReport> layers;
  lora::index_t parameters = 0;       ///< of A, B, their biases and magnitudes, and of `replaced`
  lora::index_t base_parameters = 0;  ///< of the whole base, 0 without one
  std::uint64_t bytes = 0;
  std::map<std::string, lora::index_t> dtypes;  ///< how many tensors are stored as each
  std::vector<std::string> kinds;               ///< "rsLoRA", ...
  std::vector<std::string> replaced;
  std::vector<std::string> notes;  ///< what looks wrong
};

/// Reads the adapter in a folder of PEFT's. `base` may be null; `prefix` stands before the
/// adapter's names there. Throws lora::FileError.
AdapterReport inspect_adapter(const std::string& folder, const lora::SafetensorsModel* base,
                              const std::string& prefix);

std::string to_text(const AdapterReport& report);
std::string to_json(const AdapterReport& report);

}  // namespace lora_adapter
