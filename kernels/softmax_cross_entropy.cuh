// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"
#include "kernels/tuning.hpp"

// The loss of each row and its gradient in one visit: the largest logit and the sum of exponentials
// are found together, online, and the row is then read again, from the cache, to write the gradient
// over it or elsewhere. 8 bytes an element of memory traffic, as long as the rows that are being
// worked on fit into the L2 cache: two blocks a multiprocessor, for 32,000 classes 33 of 50 MB.
//
// Short rows get a warp, long ones a block. One launch in all: the last block to finish sums the
// losses, in an order that depends on the shape alone.

namespace lora::inline v0::cuda {

/// Σ exp(z - largest) over some of a row's logits z.
struct OnlineSum {
  float largest, sum;
};

__device__ __forceinline__ OnlineSum empty_sum() { return {-INFINITY, 0.0f}; }

__device__ __forceinline__ OnlineSum shuffle_xor(const OnlineSum& s, int mask) {
  return {shuffle_xor(s.largest, mask), shuffle_xor(s.sum, mask)};
}

/// What exponents are taken relative to. A NaN and an infinity make the sum NaN, as on the CPU; of
/// logits that are all -inf the terms are 0, not NaN, so that they may stand beside finite ones.
__device__ __forceinline__ float shift_of(float largest) {
  return largest == -INFINITY ? 0.0f : largest;
}

struct Merge {
  __device__ __forceinline__ OnlineSum operator()(const OnlineSum& a, const OnlineSum& b) const {
    const float largest = fmaxf(a.largest, b.largest);
    const float shift = shift_of(largest);
    return {largest, a.sum * expf(a.largest - shift) + b.sum * expf(b.largest - shift)};
  }
};

/// Calls f(Width<N>{}, j) for the columns of a row, shared by the team: packs of four from the
/// first aligned address on, if `wide`, and single columns for the rest.
template <class Team, class F>
__device__ __forceinline__ void for_each_column(const float* row, std::int64_t cols, bool wide,
                                                const F& f) {
  std::int64_t packs_begin = 0;
  std::int64_t packs_end = 0;
  if (wide) {
    const auto misaligned = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(row) % 16);
    packs_begin = min(cols, static_cast<std::int64_t>((16u - misaligned) % 16u / sizeof(float)));
    packs_end = packs_begin + (cols - packs_begin) / kWidest * kWidest;
  }
  for (std::int64_t j = packs_begin + kWidest * Team::rank(); j < packs_end;
       j += kWidest * Team::size()) {
    f(Width<kWidest>{}, j);
  }
  for (std::int64_t j = Team::rank(); j < packs_begin; j += Team::size()) f(Width<1>{}, j);
  for (std::int64_t j = packs_end + Team::rank(); j < cols; j += Team::size()) f(Width<1>{}, j);
}

/// One row by one team. Writes the gradient and returns the loss, 0 for a row that does not count,
/// in every thread.
template <class Team>
__device__ __forceinline__ double softmax_cross_entropy_row(const float* logits, float* dlogits,
                                                            std::int64_t cols, std::int32_t label,
                                                            float weight) {
  const bool wide =
      (reinterpret_cast<std::uintptr_t>(logits) - reinterpret_cast<std::uintptr_t>(dlogits)) % 16 ==
      0;
  if (label < 0) {
    for_each_column<Team>(logits, cols, wide, [&]<int N>(Width<N>, std::int64_t j) {
      store(dlogits + j, Floats<N>{});
    });
    return 0;
  }
  // Read before the team agrees on the sum, after which the gradient may overwrite it.
  const float logit = label < cols ? logits[label] : NAN;

  OnlineSum row = empty_sum();
  for_each_column<Team>(logits, cols, wide, [&]<int N>(Width<N>, std::int64_t j) {
    const Floats<N> z = load<N>(logits + j);
    float largest = row.largest;
    for (const float element : z.v) largest = fmaxf(largest, element);
    const float shift = shift_of(largest);
    float sum = row.sum * expf(row.largest - shift);
    for (const float element : z.v) sum += expf(element - shift);
    row = {largest, sum};
  });
  row = Team::reduce(row, Merge{}, empty_sum());

  const float log_sum = row.largest + logf(row.sum);
  for_each_column<Team>(logits, cols, wide, [&]<int N>(Width<N>, std::int64_t j) {
    Floats<N> z = load_streaming<N>(logits + j);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      z.v[k] = weight * (expf(z.v[k] - log_sum) - (j + k == label ? 1.0f : 0.0f));
    }
    store_streaming(dlogits + j, z);
  });
  return double{log_sum} - double{logit};
}

/// How many labels count, in every thread of the block.
__device__ __forceinline__ long long count_labels(const VectorView<const std::int32_t>& labels) {
  long long counted = 0;
  for (std::int64_t i = threadIdx.x; i < labels.size; i += blockDim.x) {
    counted += labels.data[i] >= 0;
  }
  return block_reduce(counted, Sum{}, 0ll);
}

/// The mean of the rows' losses, by one block: load(i) is that of row i.
template <class Load>
__device__ __forceinline__ void store_loss(const Load& load, std::int64_t rows, long long counted,
                                           const detail::LossSlots& loss) {
  double total = 0;
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) total += load(i);
  total = block_reduce(total, Sum{}, 0.0);
  if (threadIdx.x != 0) return;
  const std::int64_t slot = loss.step ? (*loss.step - 1) % loss.capacity : 0;
  loss.losses[slot] = total / static_cast<double>(counted);
}

/// Two blocks fit on a multiprocessor: one computes while the other waits.
template <class Team>
inline constexpr int kBlocksAtOnce = std::is_same_v<Team, BlockTeam> ? 2 : 1;

/// Every row's gradient, and its loss in of_row[row], scratch memory; the block that is done last
/// sums them. `arrivals` is 0 before and after.
template <class Team>
__global__ void __launch_bounds__(kLongRowThreads, kBlocksAtOnce<Team>)
    softmax_cross_entropy_kernel(MatrixView<const float> logits,
                                 VectorView<const std::int32_t> labels, MatrixView<float> dlogits,
                                 detail::LossSlots loss, double* of_row, unsigned* arrivals) {
  // Each block counts for itself: the labels are few beside the logits.
  const long long counted = count_labels(labels);
  const float weight = 1.0f / static_cast<float>(counted);
  for (std::int64_t row = Team::first_row(); row < logits.rows; row += Team::teams()) {
    const double of_this = softmax_cross_entropy_row<Team>(logits.data + row * logits.stride,
                                                           dlogits.data + row * dlogits.stride,
                                                           logits.cols, labels.data[row], weight);
    if (Team::rank() == 0) of_row[row] = of_this;
  }
  if (is_last_block(arrivals, gridDim.x)) {
    const auto load_loss = [&](std::int64_t i) { return __ldcg(of_row + i); };
    store_loss(load_loss, labels.size, counted, loss);
  }
}

/// One block does all of it, a warp a row. At most kOneBlockRows rows; shared memory: a double for
/// each.
__global__ void __launch_bounds__(1024)
    softmax_cross_entropy_small_kernel(MatrixView<const float> logits,
                                       VectorView<const std::int32_t> labels,
                                       MatrixView<float> dlogits, detail::LossSlots loss) {
  LORA_DYNAMIC_SHARED_MEMORY(double, of_row);
  const long long counted = count_labels(labels);
  const float weight = 1.0f / static_cast<float>(counted);
  for (std::int64_t row = warp_of_thread(); row < logits.rows; row += warps_of_block()) {
    const double of_this = softmax_cross_entropy_row<WarpTeam>(
        logits.data + row * logits.stride, dlogits.data + row * dlogits.stride, logits.cols,
        labels.data[row], weight);
    if (lane_of_thread() == 0) of_row[row] = of_this;
  }
  __syncthreads();
  store_loss([&](std::int64_t i) { return of_row[i]; }, labels.size, counted, loss);
}

}  // namespace lora::inline v0::cuda
