// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// Sums of products, in double, where a product of floats is exact. Blocks leave partial sums of
// what the shapes alone divide, and the block that is done last adds them up: one launch, and the
// same bits on every GPU and at every address.

namespace lora::inline v0::cuda {

inline constexpr int kDotThreads = 256;
inline constexpr int kDotPacks = 4;  // of a thread
inline constexpr std::int64_t kDotChunk = std::int64_t{kDotThreads} * kDotPacks * kWidest;

/// *result = Σ partials, or `smallest` if that is more, by the block that comes last.
__device__ __forceinline__ void sum_partials(const double* partials, std::int64_t count,
                                             unsigned* arrivals, double smallest, double* result) {
  if (!is_last_block(arrivals, gridDim.x)) return;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += __ldcg(partials + i);
  sum = block_reduce(sum, Sum{}, 0.0);
  if (threadIdx.x == 0) *result = sum < smallest ? smallest : sum;
}

/// 8 bytes an element, or 4 where x is y. partials[c] is the sum of a chunk; kWidth says how its
/// packs are read, not which thread adds which element.
template <int kWidth>
__global__ void __launch_bounds__(kDotThreads)
    dot_kernel(VectorView<const float> x, VectorView<const float> y, std::int64_t chunks,
               double* partials, unsigned* arrivals, double* result) {
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    double sum = 0;
#pragma unroll
    for (int pack = 0; pack < kDotPacks; ++pack) {
      const std::int64_t i = c * kDotChunk + kWidest * (pack * kDotThreads + threadIdx.x);
      if (kWidth == kWidest && i + kWidest <= x.size) {
        const Floats<kWidest> from_x = load<kWidest>(x.data + i);
        const Floats<kWidest> from_y = load<kWidest>(y.data + i);
#pragma unroll
        for (int k = 0; k < kWidest; ++k) sum += double{from_x.v[k]} * double{from_y.v[k]};
      } else {
        for (std::int64_t k = i; k < min(i + kWidest, x.size); ++k) {
          sum += double{x.data[k]} * double{y.data[k]};
        }
      }
    }
    sum = block_reduce(sum, Sum{}, 0.0);
    if (threadIdx.x == 0) partials[c] = sum;
  }
  sum_partials(partials, chunks, arrivals, -INFINITY, result);
}

/// Threads that multiply two rows of dy and two of x.
inline constexpr int kPairThreads = 128;

/// The products of a thread's elements of rows i and j.
__device__ __forceinline__ double row_products(const MatrixView<const float>& x, std::int64_t i,
                                               std::int64_t j) {
  const float* const x_i = x.data + i * x.stride;
  const float* const x_j = x.data + j * x.stride;
  double sum = 0;
#pragma unroll 4
  for (std::int64_t k = threadIdx.x; k < x.cols; k += kPairThreads) {
    sum += double{x_i[k]} * double{x_j[k]};
  }
  return sum;
}

/// ‖dyᵀ x‖² by pairs of rows, a block a pair: each row with itself and with those behind it, around
/// the end, half of all, which stand for the other half too. 4 (O + I) bytes a pair, from L2.
__global__ void __launch_bounds__(kPairThreads)
    squared_norm_factored_kernel(MatrixView<const float> dy, MatrixView<const float> x,
                                 std::int64_t pairs, double* partials, unsigned* arrivals,
                                 double* result) {
  for (std::int64_t pair = blockIdx.x; pair < pairs; pair += gridDim.x) {
    const std::int64_t i = pair % dy.rows;
    const std::int64_t distance = pair / dy.rows;
    const std::int64_t j = (i + distance) % dy.rows;
    const double of_dy = block_reduce(row_products(dy, i, j), Sum{}, 0.0);
    const double of_x = block_reduce(row_products(x, i, j), Sum{}, 0.0);
    // A row just opposite sees this one for itself.
    const bool once = distance == 0 || 2 * distance == dy.rows;
    if (threadIdx.x == 0) partials[pair] = (once ? 1.0 : 2.0) * (of_dy * of_x);
  }
  // Rows that cancel may leave a rounding below 0.
  sum_partials(partials, pairs, arrivals, 0.0, result);
}

}  // namespace lora::inline v0::cuda
