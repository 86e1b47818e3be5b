// SPDX-License-Identifier: MIT
#pragma once

namespace lora::inline v0::detail {

// How far the identity for ‖W_o + s B_o A‖² is trusted; ops/dora.hpp explains the numbers.
constexpr double kMostCancellation = 16;
constexpr double kShareOfUpdate = 1e-6;
constexpr double kSmallestSquare = 1e-30;

/// Whether norm >= M / kMostCancellation, rearranged to do without the root in
/// M = square + 2 √square reach + kShareOfUpdate reach² + kSmallestSquare. False for a NaN.
constexpr bool is_accurate_norm(double norm, double square, double reach) {
  const double excess =
      kMostCancellation * norm - square - kShareOfUpdate * reach * reach - kSmallestSquare;
  return excess > 0 && excess * excess >= 4 * square * reach * reach;
}

}  // namespace lora::inline v0::detail
