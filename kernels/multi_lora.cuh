// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

#include "kernels/device/compat.cuh"
#include "kernels/device/lane_columns.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/warp_sums.cuh"

// The terms of several adapters on top of u = x Wᵀ: shrink and expand, as Punica calls them (arXiv
// 2310.18547). The terms come by value, a portion a launch, so that a captured graph has them. Rows
// of the batch are independent: the threads that have one row go through the terms in order and
// skip those that do not apply to it, all together, since it is the same row; those of one that
// reaches a slice of the outputs, each for its own. A, B, x and y, small beside W, are read from
// L2: what is paid for is the launch.

namespace lora::inline v0::cuda {

/// What a kernel needs of a term.
struct LaunchTerm {
  const float* a;     // (rank, in)
  const float* b;     // (outputs, rank)
  const float* gain;  // (outputs,), or null
  std::int64_t a_stride, b_stride;
  std::int64_t first;  // column of h
  int rank;
  int first_output, outputs;  // it reaches [first_output, first_output + outputs)
  std::int32_t id;
  float scale;
  bool gain_on_base;  // never without a gain
  bool vector_rows;   // of A
};

/// A launch's terms. 72 bytes each; parameters may have 4 KB on every device.
inline constexpr int kLaunchTerms = 32;

struct LaunchTerms {
  int count;
  LaunchTerm term[kLaunchTerms];
};
static_assert(sizeof(LaunchTerms) <= 3072);

inline constexpr int kTermSumThreads = 256;     // share the sums of one row of h or dh
inline constexpr int kTermColumnThreads = 128;  // have a column of one row each

using RowIds = VectorView<const std::int32_t>;

__device__ __forceinline__ bool applies(const RowIds& ids, std::int32_t id, std::int64_t row) {
  return ids.data == nullptr || ids.data[row] == id;
}

/// Σ a_k b_k over the columns, in every lane of the warp. Nobody writes to the rows meanwhile.
template <bool kVector>
__device__ __forceinline__ float dot_of_rows(const float* a, const float* b, std::int64_t columns) {
  const int lane = lane_of_thread();
  float sum = 0;
  for (std::int64_t k = 0; k < columns; k += kWarpColumns) {
    const int left = columns - k < kWarpColumns ? static_cast<int>(columns - k) : kWarpColumns;
    sum = dot(load_columns<kVector>(a + k, lane, left), load_columns<kVector>(b + k, lane, left),
              sum);
  }
  return warp_reduce(sum, Sum{});
}

/// The term's columns of a row of h or dh to which it does not apply.
__device__ __forceinline__ void store_zeros(const LaunchTerm& term, float* h) {
  for (int r = static_cast<int>(threadIdx.x); r < term.rank; r += kTermSumThreads) h[r] = 0;
}

/// Block (i, t): row i of the columns of term t, a warp for each of them.
__global__ void __launch_bounds__(kTermSumThreads)
    multi_lora_shrink_kernel(MatrixView<const float> x, const __grid_constant__ LaunchTerms terms,
                             RowIds ids, MatrixView<float> h, bool vector_rows) {
  const LaunchTerm& term = terms.term[blockIdx.y];
  const std::int64_t row = blockIdx.x;
  float* const to = h.data + row * h.stride + term.first;
  if (!applies(ids, term.id, row)) return store_zeros(term, to);
  const float* const from = x.data + row * x.stride;
  for (int r = warp_of_thread(); r < term.rank; r += warps_of_block()) {
    const float* const a = term.a + r * term.a_stride;
    const float sum = vector_rows && term.vector_rows ? dot_of_rows<true>(from, a, x.cols)
                                                      : dot_of_rows<false>(from, a, x.cols);
    if (lane_of_thread() == 0) to[r] = __fmul_rn(term.scale, sum);
  }
}

/// Block (i, j): row i, kTermColumnThreads columns. y = u + bias if this is the first portion of
/// the terms, else what is there; then the terms, without low-rank part unless kLowRank. y may be
/// u.
template <bool kLowRank>
__global__ void __launch_bounds__(kTermColumnThreads)
    multi_lora_expand_kernel(MatrixView<const float> u, MatrixView<const float> h,
                             const __grid_constant__ LaunchTerms terms, RowIds ids,
                             VectorView<const float> bias, MatrixView<float> y, bool is_first,
                             bool relu) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t o = std::int64_t{blockIdx.y} * kTermColumnThreads + threadIdx.x;
  if (o >= y.cols) return;
  const float base = u.data[row * u.stride + o];
  float* const to = y.data + row * y.stride + o;
  float sum = is_first ? base : *to;
  if (is_first && bias.data != nullptr) sum = __fadd_rn(sum, bias.data[o]);
  for (int t = 0; t < terms.count; ++t) {
    const LaunchTerm& term = terms.term[t];
    if (!applies(ids, term.id, row)) continue;
    const std::int64_t own_o = o - term.first_output;
    if (own_o < 0 || own_o >= term.outputs) continue;
    const float gain = term.gain != nullptr ? term.gain[own_o] : 1.0f;
    if (term.gain_on_base) sum = __fmaf_rn(gain - 1.0f, base, sum);
    if constexpr (kLowRank) {
      const float* const b = term.b + own_o * term.b_stride;
      const float* const own = h.data + row * h.stride + term.first;
      for (int r = 0; r < term.rank; ++r) sum = __fmaf_rn(own[r], __fmul_rn(gain, b[r]), sum);
    }
  }
  *to = relu && sum < 0 ? 0.0f : sum;
}

/// Block (i, t): row i of the columns of term t, four of them at a time, the threads along the rows
/// of B; their sums are added in the order of lanes and warps.
__global__ void __launch_bounds__(kTermSumThreads)
    multi_lora_backward_shrink_kernel(MatrixView<const float> dy,
                                      const __grid_constant__ LaunchTerms terms, RowIds ids,
                                      MatrixView<float> dh) {
  constexpr int kRanks = 4;
  constexpr int kWarps = kTermSumThreads / kWarpSize;
  LORA_SHARED_MEMORY(float, partial, kWarps* kRanks);
  const LaunchTerm& term = terms.term[blockIdx.y];
  const std::int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  float* const to = dh.data + row * dh.stride + term.first;
  if (!applies(ids, term.id, row)) return store_zeros(term, to);
  const float* const from = dy.data + row * dy.stride + term.first_output;
  for (int first = 0; first < term.rank; first += kRanks) {
    float sum[kRanks] = {};
    for (std::int64_t o = thread; o < term.outputs; o += kTermSumThreads) {
      const float g = term.gain != nullptr ? __fmul_rn(term.gain[o], from[o]) : from[o];
      const float* const b = term.b + o * term.b_stride + first;
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (first + r < term.rank) sum[r] = __fmaf_rn(g, b[r], sum[r]);
      }
    }
    store_warp_sums(sum, thread % kWarpSize, partial + thread / kWarpSize * kRanks);
    __syncthreads();
    if (thread < kRanks && first + thread < term.rank) {
      float total = partial[thread];
      for (int warp = 1; warp < kWarps; ++warp) total += partial[warp * kRanks + thread];
      to[first + thread] = __fmul_rn(term.scale, total);
    }
    // The memory is used again.
    __syncthreads();
  }
}

/// Block (i, j): row i, kTermColumnThreads columns. dx += Σ dh A, and 0 where relu_output is.
__global__ void __launch_bounds__(kTermColumnThreads)
    multi_lora_backward_input_kernel(MatrixView<const float> dh,
                                     const __grid_constant__ LaunchTerms terms, RowIds ids,
                                     MatrixView<const float> relu_output, MatrixView<float> dx) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t k = std::int64_t{blockIdx.y} * kTermColumnThreads + threadIdx.x;
  if (k >= dx.cols) return;
  float* const to = dx.data + row * dx.stride + k;
  float sum = *to;
  for (int t = 0; t < terms.count; ++t) {
    const LaunchTerm& term = terms.term[t];
    if (!applies(ids, term.id, row)) continue;
    const float* const own = dh.data + row * dh.stride + term.first;
    for (int r = 0; r < term.rank; ++r) {
      sum = __fmaf_rn(own[r], term.a[r * term.a_stride + k], sum);
    }
  }
  const bool is_off =
      relu_output.data != nullptr && relu_output.data[row * relu_output.stride + k] <= 0;
  *to = is_off ? 0.0f : sum;
}

/// g = (gain ∘ p)ᵀ q over the rows with the id, or added to what is there: a thread an element,
/// neighbours along q. `gain` may be null.
__global__ void multi_lora_backward_weights_kernel(MatrixView<const float> p,
                                                   MatrixView<const float> q, RowIds ids,
                                                   std::int32_t id, const float* gain,
                                                   MatrixView<float> g, bool accumulate) {
  const std::int64_t element = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (element >= g.rows * g.cols) return;
  const std::int64_t m = element / g.cols;
  const std::int64_t n = element - m * g.cols;
  const float factor = gain != nullptr ? gain[m] : 1.0f;
  float sum = 0;
  for (std::int64_t row = 0; row < p.rows; ++row) {
    if (!applies(ids, id, row)) continue;
    sum = __fmaf_rn(__fmul_rn(factor, p.data[row * p.stride + m]), q.data[row * q.stride + n], sum);
  }
  float* const to = g.data + m * g.stride + n;
  *to = accumulate ? *to + sum : sum;
}

/// dgain = Σ dy ∘ (u + Σ h Bᵀ) over the rows with the id, on top of what is there if `accumulate`;
/// `terms` has that adapter's alone, and u counts with the first portion of them. A block of
/// (columns, lanes) threads, as in linear_backward_bias_kernel: lane y has rows y, y + lanes, …,
/// and the lanes are added in a tree. blockDim.y is a power of two; shared memory: a float a
/// thread.
__global__ void multi_lora_backward_gain_kernel(
    MatrixView<const float> dy, MatrixView<const float> u, MatrixView<const float> h,
    const __grid_constant__ LaunchTerms terms, RowIds ids, std::int32_t id, VectorView<float> dgain,
    bool accumulate, bool is_first) {
  LORA_DYNAMIC_SHARED_MEMORY(float, sums);
  const std::int64_t o = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const bool exists = o < dgain.size;
  float sum = exists && threadIdx.y == 0 && accumulate ? dgain.data[o] : 0.0f;
  for (std::int64_t row = threadIdx.y; exists && row < dy.rows; row += blockDim.y) {
    if (!applies(ids, id, row)) continue;
    float output = is_first ? u.data[row * u.stride + o] : 0.0f;
    for (int t = 0; t < terms.count; ++t) {
      const LaunchTerm& term = terms.term[t];
      const float* const b = term.b + o * term.b_stride;
      const float* const own = h.data + row * h.stride + term.first;
      for (int r = 0; r < term.rank; ++r) output = __fmaf_rn(own[r], b[r], output);
    }
    sum = __fmaf_rn(dy.data[row * dy.stride + o], output, sum);
  }
  float* const own = sums + threadIdx.y * blockDim.x + threadIdx.x;
  *own = sum;
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) *own += own[half * blockDim.x];
  }
  if (exists && threadIdx.y == 0) dgain.data[o] = *own;
}

/// Block (i, j): row i, kTermColumnThreads columns. y += bias in the rows with the id.
__global__ void __launch_bounds__(kTermColumnThreads)
    multi_lora_add_bias_kernel(VectorView<const float> bias, RowIds ids, std::int32_t id,
                               MatrixView<float> y) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t o = std::int64_t{blockIdx.y} * kTermColumnThreads + threadIdx.x;
  if (o >= y.cols || !applies(ids, id, row)) return;
  float* const to = y.data + row * y.stride + o;
  *to = __fadd_rn(*to, bias.data[o]);
}

/// db = Σ dy over the rows with the id, in their order, a thread a column.
__global__ void __launch_bounds__(kTermColumnThreads)
    multi_lora_backward_bias_kernel(MatrixView<const float> dy, RowIds ids, std::int32_t id,
                                    VectorView<float> db, bool accumulate) {
  const std::int64_t o = std::int64_t{blockIdx.x} * kTermColumnThreads + threadIdx.x;
  if (o >= db.size) return;
  float sum = accumulate ? db.data[o] : 0.0f;
  for (std::int64_t row = 0; row < dy.rows; ++row) {
    if (applies(ids, id, row)) sum = __fadd_rn(sum, dy.data[row * dy.stride + o]);
  }
  db.data[o] = sum;
}

}  // namespace lora::inline v0::cuda
