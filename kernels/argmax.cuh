// SPDX-License-Identifier: MIT
#pragma once

#include <climits>
#include <cmath>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/reduce.cuh"

// The largest of each row, by a warp for short rows and by a block for long ones: 4 bytes an
// element, read once, neighbouring lanes reading neighbours.

namespace lora::inline v0::cuda {

struct Candidate {
  float value;
  int index;
};

/// Loses to every element of a row.
__device__ __forceinline__ Candidate no_candidate() { return {-INFINITY, INT_MAX}; }

__device__ __forceinline__ Candidate shuffle_xor(const Candidate& c, int mask) {
  return {shuffle_xor(c.value, mask), shuffle_xor(c.index, mask)};
}

/// The larger, a NaN being larger than everything; of equals the one in front.
struct Better {
  __device__ __forceinline__ Candidate operator()(const Candidate& a, const Candidate& b) const {
    const bool a_is_nan = a.value != a.value;
    const bool b_is_nan = b.value != b.value;
    const bool equal = a.value == b.value || (a_is_nan && b_is_nan);
    const bool a_wins = equal ? a.index < b.index : a_is_nan || (!b_is_nan && a.value > b.value);
    return a_wins ? a : b;
  }
};

template <class Team>
__global__ void argmax_kernel(MatrixView<const float> x, VectorView<std::int32_t> indices) {
  for (std::int64_t row = Team::first_row(); row < x.rows; row += Team::teams()) {
    const float* const from = x.data + row * x.stride;
    Candidate best = no_candidate();
    for (std::int64_t j = Team::rank(); j < x.cols; j += Team::size()) {
      best = Better{}(best, {from[j], static_cast<int>(j)});
    }
    best = Team::reduce(best, Better{}, no_candidate());
    if (Team::rank() == 0) indices.data[row] = best.index;
  }
}

}  // namespace lora::inline v0::cuda
