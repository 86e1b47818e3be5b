// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/tuning.hpp"

// layer_norm and rms_norm, which is the first with a mean of 0. A warp has a short row, a block a
// long one, and visits it two or three times while it is in the cache: 8 bytes an element of memory
// traffic forward, 12 backward. The gradients of weight and bias are sums over rows, by blocks of
// their own: 8 bytes an element more, from the L2 cache as far as dy and x fit into it.

namespace lora::inline v0::cuda {

/// Of a row; rms_norm's mean has no data.
struct NormStatistics {
  VectorView<const float> mean, inv_std;

  __device__ __forceinline__ float mean_of(std::int64_t row) const {
    return mean.data ? mean.data[row] : 0.0f;
  }
};

/// Two sums that are reduced together.
struct TwoSums {
  float first, second;

  __device__ __forceinline__ TwoSums operator+(const TwoSums& other) const {
    return {first + other.first, second + other.second};
  }
};

__device__ __forceinline__ TwoSums shuffle_xor(const TwoSums& s, int mask) {
  return {shuffle_xor(s.first, mask), shuffle_xor(s.second, mask)};
}

/// Calls f(Width<N>{}, j) for the columns of a row, shared by the team.
template <class Team, int kWidth, class F>
__device__ __forceinline__ void for_each_row_pack(std::int64_t cols, const F& f) {
  const std::int64_t packs = cols / kWidth;
  for (std::int64_t i = Team::rank(); i < packs; i += Team::size()) f(Width<kWidth>{}, i * kWidth);
  if constexpr (kWidth > 1) {
    const std::int64_t j = packs * kWidth + Team::rank();
    if (j < cols) f(Width<1>{}, j);
  }
}

/// kWidth 4 takes rows, weight and bias that are aligned. `bias` and `mean` may have no data.
template <class Team, int kWidth>
__global__ void norm_kernel(MatrixView<const float> x, VectorView<const float> weight,
                            VectorView<const float> bias, MatrixView<float> y,
                            VectorView<float> mean, VectorView<float> inv_std, float eps) {
  const float share = 1.0f / static_cast<float>(x.cols);
  for (std::int64_t row = Team::first_row(); row < x.rows; row += Team::teams()) {
    const float* const from = x.data + row * x.stride;
    float* const to = y.data + row * y.stride;
    float centre = 0;
    if (mean.data) {
      for_each_row_pack<Team, kWidth>(x.cols, [&]<int N>(Width<N>, std::int64_t j) {
        for (const float element : load<N>(from + j).v) centre += element;
      });
      centre = Team::reduce(centre, Sum{}, 0.0f) * share;
    }
    TwoSums moments{};
    for_each_row_pack<Team, kWidth>(x.cols, [&]<int N>(Width<N>, std::int64_t j) {
      for (const float element : load<N>(from + j).v) {
        const float d = element - centre;
        moments = moments + TwoSums{d, d * d};
      }
    });
    moments = Team::reduce(moments, Sum{}, TwoSums{});
    float variance = moments.second * share;
    if (mean.data) {
      // What rounding left out of the mean, as on the CPU.
      const float missing = moments.first * share;
      centre += missing;
      variance -= missing * missing;
    }
    const float scale = 1.0f / __fsqrt_rn(variance + eps);
    if (Team::rank() == 0) {
      if (mean.data) mean.data[row] = centre;
      inv_std.data[row] = scale;
    }
    for_each_row_pack<Team, kWidth>(x.cols, [&]<int N>(Width<N>, std::int64_t j) {
      Floats<N> pack = load<N>(from + j);
      const Floats<N> factor = load<N>(weight.data + j);
      const Floats<N> offset = bias.data ? load<N>(bias.data + j) : Floats<N>{};
#pragma unroll
      for (int k = 0; k < N; ++k) {
        pack.v[k] = (pack.v[k] - centre) * scale * factor.v[k] + offset.v[k];
      }
      store(to + j, pack);
    });
  }
}

/// dx, which may lie over dy.
template <class Team, int kWidth>
__global__ void norm_backward_kernel(MatrixView<const float> dy, MatrixView<const float> x,
                                     VectorView<const float> weight, NormStatistics statistics,
                                     MatrixView<float> dx) {
  const float share = 1.0f / static_cast<float>(x.cols);
  for (std::int64_t row = Team::first_row(); row < x.rows; row += Team::teams()) {
    const float* const gradient = dy.data + row * dy.stride;
    const float* const from = x.data + row * x.stride;
    float* const to = dx.data + row * dx.stride;
    const float mean = statistics.mean_of(row);
    const float inv_std = statistics.inv_std.data[row];
    TwoSums sums{};
    for_each_row_pack<Team, kWidth>(x.cols, [&]<int N>(Width<N>, std::int64_t j) {
      const Floats<N> g = load<N>(gradient + j);
      const Floats<N> input = load<N>(from + j);
      const Floats<N> factor = load<N>(weight.data + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float weighted = g.v[k] * factor.v[k];
        sums = sums + TwoSums{weighted, weighted * ((input.v[k] - mean) * inv_std)};
      }
    });
    sums = Team::reduce(sums, Sum{}, TwoSums{});
    const float centre = statistics.mean.data ? sums.first * share : 0.0f;
    const float slope = sums.second * share;
    for_each_row_pack<Team, kWidth>(x.cols, [&]<int N>(Width<N>, std::int64_t j) {
      Floats<N> pack = load<N>(gradient + j);
      const Floats<N> input = load<N>(from + j);
      const Floats<N> factor = load<N>(weight.data + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float normalized = (input.v[k] - mean) * inv_std;
        pack.v[k] = inv_std * (pack.v[k] * factor.v[k] - centre - normalized * slope);
      }
      store(to + j, pack);
    });
  }
}

/// What the gradients of weight and bias, either of which may have no data, are stored over.
struct NormGradients {
  VectorView<float> weight, bias;
  bool accumulate_weight, accumulate_bias;
};

/// A block sums a chunk of the rows of kWarpSize columns: warp w has rows w, w + kNormSumWarps, … .
/// The last block of its columns adds the chunks, in order. Partial sums: (chunks, 2, cols);
/// `arrivals` has a zero for each gridDim.x.
__global__ void __launch_bounds__(kNormSumWarps* kWarpSize)
    norm_backward_weight_kernel(MatrixView<const float> dy, MatrixView<const float> x,
                                NormStatistics statistics, NormGradients gradients, float* partials,
                                unsigned* arrivals) {
  LORA_SHARED_MEMORY(float, of_warp, 2 * kNormSumWarps * kWarpSize);
  const int lane = lane_of_thread();
  const int warp = warp_of_thread();
  const std::int64_t column = std::int64_t{blockIdx.x} * kWarpSize + lane;
  const std::int64_t chunks = gridDim.y;
  const std::int64_t end = x.rows * (blockIdx.y + 1) / chunks;
  TwoSums sums{};
  if (column < x.cols) {
#pragma unroll 4
    for (std::int64_t row = x.rows * blockIdx.y / chunks + warp; row < end; row += kNormSumWarps) {
      const float g = dy.data[row * dy.stride + column];
      const float normalized = (x.data[row * x.stride + column] - statistics.mean_of(row)) *
                               statistics.inv_std.data[row];
      sums = sums + TwoSums{g * normalized, g};
    }
  }
  of_warp[warp * kWarpSize + lane] = sums.first;
  of_warp[(kNormSumWarps + warp) * kWarpSize + lane] = sums.second;
  __syncthreads();
  // From here on warp 0 has the weight, warp 1 the bias.
  const bool has_column = warp < 2 && column < x.cols;
  if (has_column) {
    float sum = 0;
    for (int w = 0; w < kNormSumWarps; ++w) {
      sum += of_warp[(warp * kNormSumWarps + w) * kWarpSize + lane];
    }
    partials[(2 * std::int64_t{blockIdx.y} + warp) * x.cols + column] = sum;
  }
  if (!is_last_block(arrivals + blockIdx.x, gridDim.y) || !has_column) return;
  float* const to = warp == 0 ? gradients.weight.data : gradients.bias.data;
  if (!to) return;
  const bool accumulate = warp == 0 ? gradients.accumulate_weight : gradients.accumulate_bias;
  float sum = accumulate ? to[column] : 0.0f;
  for (std::int64_t c = 0; c < chunks; ++c)
    sum += __ldcg(partials + (2 * c + warp) * x.cols + column);
  to[column] = sum;
}

}  // namespace lora::inline v0::cuda
