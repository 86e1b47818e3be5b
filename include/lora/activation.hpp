// SPDX-License-Identifier: MIT
#pragma once

namespace lora::inline v0 {

/// What a linear op does to its output before it stores it.
enum class Activation : int { none, relu };

}  // namespace lora::inline v0
