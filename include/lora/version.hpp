// SPDX-License-Identifier: MIT
#pragma once

// The one place that states the version: CMake reads these three lines, and the inline namespace
// `v0` that holds every name of the library follows the major number.
#define LORA_VERSION_MAJOR 0
#define LORA_VERSION_MINOR 1
#define LORA_VERSION_PATCH 0

namespace lora::inline v0 {

struct Version {
  int major, minor, patch;
};

inline constexpr Version kVersion{LORA_VERSION_MAJOR, LORA_VERSION_MINOR, LORA_VERSION_PATCH};

}  // namespace lora::inline v0
