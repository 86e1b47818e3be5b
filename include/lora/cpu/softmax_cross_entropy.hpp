// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <lora/cpu/simd.hpp>
#include <lora/cpu/simd_math.hpp>
#include <lora/cpu/vectors.hpp>
#include <lora/detail/backend.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Rows [begin, end): the gradient, which may lie over the logits, and each row's loss. A row is
/// visited three times while it is in the cache; each exponential is computed once.
struct SoftmaxCrossEntropyCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> logits,
                                     VectorView<const std::int32_t> labels, MatrixView<T> dlogits,
                                     T weight, double* losses, std::int64_t begin,
                                     std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      T* const dz = dlogits.row(i);
      if (labels[i] < 0) {
        std::fill_n(dz, logits.cols, T{});
        losses[i] = 0;
      } else {
        losses[i] = row<Simd<T, Bytes>>(logits.row(i), labels[i], dz, logits.cols, weight);
      }
    }
  }

 private:
  template <class S, class T>
  static LORA_ALWAYS_INLINE double row(const T* z, std::int32_t label, T* dz, std::int64_t cols,
                                       T weight) {
    using V = typename S::Vector;
    constexpr T kLowest = -std::numeric_limits<T>::infinity();
    const T logit = z[label];
    // A NaN loses here and makes the sum NaN.
    V highest[2] = {V{} + kLowest, V{} + kLowest};
    visit_vectors<S>(
        cols, kLowest,
        [&](int k, const T* from) LORA_INLINE_LAMBDA {
          const V v = *S::at(from);
          S::select(v > highest[k], v, highest[k], highest[k]);
        },
        z);
    T largest = kLowest;
    LORA_UNROLL
    for (int k = 0; k < S::kWidth; ++k) {
      largest = std::max({largest, highest[0][k], highest[1][k]});
    }

    V sums{};
    map_vectors<S>(
        cols, kLowest,
        [&](T* to, const T* from) LORA_INLINE_LAMBDA {
          V v = *S::at(from) - largest;
          exp<S>(v);
          sums += v;
          *S::at(to) = v;
        },
        dz, z);
    const T sum = S::sum(sums);
    const T probability = dz[label] / sum;
    map_vectors<S>(
        cols, T{},
        [&](T* to, const T* from)
            LORA_INLINE_LAMBDA { *S::at(to) = *S::at(from) * (weight / sum); },
        dz, dz);
    dz[label] = weight * (probability - T{1});
    return double{largest + std::log(sum)} - double{logit};
  }
};

template <class T>
void softmax_cross_entropy(MatrixView<const T> logits, VectorView<const std::int32_t> labels,
                           MatrixView<T> dlogits, lora::detail::LossSlots loss) {
  std::int64_t counted = 0;
  for (std::int64_t i = 0; i < labels.size; ++i) counted += labels[i] >= 0;
  const T weight = T{1} / static_cast<T>(counted);

  thread_local std::vector<double> memory;
  memory.resize(static_cast<std::size_t>(logits.rows));
  double* const losses = memory.data();
  const std::int64_t grain =
      std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, logits.cols));
  lora::detail::parallel_for(logits.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<SoftmaxCrossEntropyCore>(logits, labels, dlogits, weight, losses, begin, end);
  });
  double total = 0;
  for (std::int64_t i = 0; i < logits.rows; ++i) total += losses[i];
  const std::int64_t slot = loss.step ? (*loss.step - 1) % loss.capacity : 0;
  loss.losses[slot] = total / static_cast<double>(counted);
}

}  // namespace lora::inline v0::cpu
