// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Elements [begin, end) of a dense gradient, given to a sink as row 0.
struct DenseUpdateCore {
  static constexpr std::int64_t kGrain = 1024;

  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void run(VectorView<const T> gradient, Sink sink, std::int64_t begin,
                                     std::int64_t end) {
    using S = Simd<T, Bytes>;
    std::int64_t k = begin;
    for (; k + S::kWidth <= end; k += S::kWidth) {
      const typename S::Vector g = *S::at(gradient.data + k);
      sink.template vector<S>(g, 0, k);
    }
    for (; k < end; ++k) sink.template scalar<S>(gradient[k], 0, k);
  }
};

template <class T, class Sink>
void update_dense(VectorView<const T> gradient, const Sink& sink) {
  lora::detail::parallel_for(gradient.size, DenseUpdateCore::kGrain,
                             [&](std::int64_t begin, std::int64_t end) {
                               run_simd<DenseUpdateCore>(gradient, sink, begin, end);
                             });
}

template <class T>
MatrixView<T> as_row(VectorView<T> x) {
  return {x.data, 1, x.size, x.size};
}

}  // namespace lora::inline v0::cpu
