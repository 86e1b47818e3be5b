// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/cpu/linear.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

/// Rows [begin, end) of W: dx += dy W, and then each element of dyᵀ x goes to `sink`, which updates
/// W. A tile of W is in the nearest cache from the first to the second, so memory is visited once.
/// The sums are those of the two cores it is made of, in their order, and so are the bits.
struct LinearBackwardUpdateCore {
  template <int Bytes, class T, class Sink>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> x,
                                     MatrixView<const T> w, MatrixView<T> dx, Sink sink,
                                     std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; o += OuterProductCore::kTileRows) {
      const std::int64_t o_end = std::min(o + OuterProductCore::kTileRows, end);
      for (std::int64_t k = 0; k < w.cols; k += OuterProductCore::kTileCols) {
        const std::int64_t k_end = std::min(k + OuterProductCore::kTileCols, w.cols);
        LinearBackwardInputCore::add<Bytes>(dy, w, dx, o, o_end, k, k_end);
        OuterProductCore::tile<Bytes>(dy, x, sink, o, o_end, k, k_end);
      }
    }
  }
};

/// dx = dy W, through the ReLU that gave `relu_output`, unless `dx.data` is null, and every element
/// of dyᵀ x to `sink`; in one visit of W.
template <class T, class Sink>
void linear_backward_update(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<const T> w,
                            MatrixView<const T> relu_output, MatrixView<T> dx, const Sink& sink) {
  if (!dx.data) return for_each_weight_gradient(dy, x, sink);
  detail::sum_over_rows<T>(w.rows, relu_output, dx,
                           [&](const MatrixView<T>& sum, std::int64_t begin, std::int64_t end) {
                             run_simd<LinearBackwardUpdateCore>(dy, x, w, sum, sink, begin, end);
                           });
}

}  // namespace lora::inline v0::cpu
