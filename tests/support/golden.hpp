// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/io/safetensors.hpp>

namespace lora_test {

/// What PyTorch computes: tests/golden/<name>.safetensors, made by <name>.py beside it.
inline lora::SafetensorsFile golden(const std::string& name) {
  return lora::SafetensorsFile(std::string(LORA_GOLDEN_DIR "/") + name + ".safetensors");
}

}  // namespace lora_test
