// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/detail/dora_bound.hpp>
#include <lora/view.hpp>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// The norms and gains of DoRA, and what follows from them. Only row_squares_kernel reads all of W,
// right after the products that did, so mostly from the L2 cache: 4 bytes an element.

namespace lora::inline v0::cuda {

/// squares[o] = ‖W_o‖². kWidth 4 takes rows that are aligned.
template <class Team, int kWidth>
__global__ void row_squares_kernel(MatrixView<const float> w, VectorView<float> squares) {
  const std::int64_t packs = w.cols / kWidth;
  for (std::int64_t row = Team::first_row(); row < w.rows; row += Team::teams()) {
    const float* const from = w.data + row * w.stride;
    Floats<kWidth> sum{};
    for (std::int64_t i = Team::rank(); i < packs; i += Team::size()) {
      const Floats<kWidth> x = load<kWidth>(from + kWidth * i);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.v[k] = __fmaf_rn(x.v[k], x.v[k], sum.v[k]);
    }
    float total = sum.v[0];
    if constexpr (kWidth == 4) {
      const std::int64_t i = packs * kWidth + Team::rank();
      if (i < w.cols) total = __fmaf_rn(from[i], from[i], total);
      total = (total + sum.v[1]) + (sum.v[2] + sum.v[3]);
    }
    total = Team::reduce(total, Sum{}, 0.0f);
    if (Team::rank() == 0) squares.data[row] = total;
  }
}

/// Threads that form one element of A Aᵀ.
constexpr int kGramThreads = 128;

/// gram[r R + q] = A_r · A_q for q <= r, and lengths[r] = ‖A_r‖, in double. A block an element:
/// (q, r) is its place in the grid.
__global__ void __launch_bounds__(kGramThreads)
    gram_kernel(MatrixView<const float> a, double* gram, double* lengths) {
  const std::int64_t q = blockIdx.x;
  const std::int64_t r = blockIdx.y;
  if (q > r) return;
  double sum = 0;
  for (std::int64_t k = threadIdx.x; k < a.cols; k += kGramThreads) {
    sum += double{a.data[r * a.stride + k]} * double{a.data[q * a.stride + k]};
  }
  sum = block_reduce(sum, Sum{}, 0.0);
  if (threadIdx.x != 0) return;
  gram[r * a.rows + q] = sum;
  if (q == r) lengths[r] = __dsqrt_rn(sum);
}

/// What ‖W_o + s B_o A‖² is worked out from; lora/ops/dora.hpp has the formula.
struct DoraOperands {
  MatrixView<const float> wa;
  VectorView<const float> squares;
  MatrixView<const float> a, b, w;
  const double* gram;     // (R, R), its lower triangle
  const double* lengths;  // (R,)
  double scale;
};

/// ‖W_o + s B_o A‖² by the identity, and whether it is accurate.
__device__ __forceinline__ double norm_by_identity(const DoraOperands& p, std::int64_t o,
                                                   bool& is_accurate) {
  const float* const b = p.b.data + o * p.b.stride;
  double cross = 0, update = 0, reach = 0;
  for (std::int64_t r = 0; r < p.a.rows; ++r) {
    const double* const gram = p.gram + r * p.a.rows;
    const double factor = p.scale * double{b[r]};
    double others = 0;
    for (std::int64_t q = 0; q < r; ++q) others += p.scale * double{b[q]} * gram[q];
    cross += factor * double{p.wa.data[r * p.wa.stride + o]};
    update += factor * (2 * others + factor * gram[r]);
    reach += fabs(factor) * p.lengths[r];
  }
  const double square = p.squares.data[o];
  const double norm = square + 2 * cross + update;
  const double excess = detail::kMostCancellation * norm - square -
                        detail::kShareOfUpdate * reach * reach - detail::kSmallestSquare;
  is_accurate = excess > 0 && excess * excess >= 4 * square * reach * reach;
  return norm;
}

/// The same from the elements, by a warp.
__device__ __forceinline__ double norm_directly(const DoraOperands& p, std::int64_t o) {
  const float* const b = p.b.data + o * p.b.stride;
  double sum = 0;
  for (std::int64_t k = lane_of_thread(); k < p.w.cols; k += kWarpSize) {
    double element = p.w.data[o * p.w.stride + k];
    for (std::int64_t r = 0; r < p.a.rows; ++r) {
      element += p.scale * double{b[r]} * double{p.a.data[r * p.a.stride + k]};
    }
    sum += element * element;
  }
  return warp_reduce(sum, Sum{});
}

/// A thread a row; rows whose norm the identity does not give are then done by their warp, one
/// after the other. Blocks of one warp: few rows still reach many multiprocessors.
__global__ void __launch_bounds__(kWarpSize)
    dora_gains_kernel(DoraOperands p, VectorView<const float> magnitude, VectorView<float> norms,
                      VectorView<float> gains) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kWarpSize;
  const std::int64_t o = first + lane_of_thread();
  const bool exists = o < p.w.rows;
  double norm = 0;
  bool is_accurate = true;
  if (exists) norm = norm_by_identity(p, o, is_accurate);
  for (unsigned left = __ballot_sync(kAllLanes, !is_accurate); left != 0; left &= left - 1) {
    const int lane = __ffs(static_cast<int>(left)) - 1;
    const double direct = norm_directly(p, first + lane);
    if (lane == lane_of_thread()) norm = direct;
  }
  if (!exists) return;
  const float rounded = static_cast<float>(__dsqrt_rn(norm));
  norms.data[o] = rounded;
  gains.data[o] = rounded == 0.0f ? 0.0f : __fdiv_rn(magnitude.data[o], rounded);
}

template <int kWidth>
__global__ void dora_backward_magnitude_kernel(VectorView<const float> dgain,
                                               VectorView<const float> norms, VectorView<float> dm,
                                               bool accumulate) {
  for_each_pack<kWidth>(dm.size, [&]<int N>(Width<N>, std::int64_t i) {
    const Floats<N> gradient = load<N>(dgain.data + i);
    const Floats<N> norm = load<N>(norms.data + i);
    Floats<N> pack{};
    if (accumulate) pack = load<N>(dm.data + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float g = norm.v[k] == 0.0f ? 0.0f : __fdiv_rn(gradient.v[k], norm.v[k]);
      pack.v[k] = accumulate ? __fadd_rn(pack.v[k], g) : g;
    }
    store(dm.data + i, pack);
  });
}

/// A block a row at a time. kWidth 4 takes rows that are aligned.
template <int kWidth>
__global__ void dora_scale_rows_kernel(VectorView<const float> gains, MatrixView<float> w) {
  const std::int64_t packs = w.cols / kWidth;
  for (std::int64_t o = blockIdx.x; o < w.rows; o += gridDim.x) {
    const float gain = gains.data[o];
    float* const row = w.data + o * w.stride;
    for (std::int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
      Floats<kWidth> pack = load<kWidth>(row + kWidth * i);
      for (float& element : pack.v) element = __fmul_rn(element, gain);
      store(row + kWidth * i, pack);
    }
    if constexpr (kWidth > 1) {
      const std::int64_t i = packs * kWidth + threadIdx.x;
      if (i < w.cols) row[i] = __fmul_rn(row[i], gain);
    }
  }
}

}  // namespace lora::inline v0::cuda
