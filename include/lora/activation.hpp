// SPDX-License-Identifier: MIT
#pragma once

namespace lora::inline v0 {

/// What a linear op does to its output before it stores it.
enum class Activation : int { none, relu };

/// The argument `approximate` of torch.nn.GELU: exact, or with tanh in place of erf.
enum class GELUApproximation : int { none, tanh };

}  // namespace lora::inline v0
