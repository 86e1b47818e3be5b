// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include <lora/activation.hpp>
#include <lora/cpu/gemm.hpp>
#include <lora/cpu/linear_cores.hpp>
#include <lora/cpu/relu.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/function_ref.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// A linear layer's products: those of few rows by the cores for thin batches, which read the weight
// once and copy nothing, those of many by gemm.

namespace lora::inline v0::cpu {

namespace detail {

// Rows of W a thread takes at a time: a multiple of the rows of a block.
constexpr std::int64_t kRowGrain = 8;

/// Whether a product of these sizes is one for gemm. Copying the operands pays once each copied
/// element is used often; a narrow result would fill the blocks of C with padding.
inline bool is_large(std::int64_t batch, std::int64_t out, std::int64_t in) {
  return batch > 64 && out >= 32 && in >= 32;
}

/// to = to + from
struct AddRowCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* from, T* to, std::int64_t size) {
    using S = Simd<T, Bytes>;
    std::int64_t k = 0;
    for (; k + S::kWidth <= size; k += S::kWidth) *S::at(to + k) += *S::at(from + k);
    for (; k < size; ++k) to[k] += from[k];
  }
};

template <class T>
void finish_rows(VectorView<const T> bias, Activation activation, MatrixView<T> y) {
  if (!bias.data && activation == Activation::none) return;
  lora::detail::parallel_for(y.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      T* const row = y.row(i);
      if (bias.data) run_simd<AddRowCore>(bias.data, row, y.cols);
      if (activation == Activation::relu) relu<T>({row, y.cols}, {row, y.cols});
    }
  });
}

template <class T>
void through_relu(MatrixView<const T> relu_output, MatrixView<T> dx) {
  if (!relu_output.data) return;
  for (std::int64_t i = 0; i < dx.rows; ++i) {
    relu_backward<T>({relu_output.row(i), dx.cols}, {dx.row(i), dx.cols}, {dx.row(i), dx.cols});
  }
}

}  // namespace detail

template <class T>
void linear_with(MatrixView<const T> x, MatrixView<const T> w, VectorView<const T> bias,
                 LowRankTerm<T> low_rank, MatrixView<T> y, Activation activation) {
  if (detail::is_large(x.rows, w.rows, w.cols)) {
    gemm(as_is(x), transposed(w), w.cols, y, false);
    if (low_rank.b.cols > 0) {
      gemm(as_is(low_rank.h), transposed(low_rank.b), low_rank.b.cols, y, true);
    }
    return detail::finish_rows(bias, activation, y);
  }
  lora::detail::parallel_for(w.rows, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<LinearCore>(x, w, bias, low_rank, y, activation, begin, end);
  });
}

template <class T>
void linear(MatrixView<const T> x, MatrixView<const T> w, VectorView<const T> bias, MatrixView<T> y,
            Activation activation = Activation::none) {
  linear_with(x, w, bias, LowRankTerm<T>{}, y, activation);
}

namespace detail {

/// In how many chunks the rows of W are taken where a sum goes over them. Each chunk has a partial
/// sum, and these are added in order: the result depends on the shape, not on the threads, and a
/// thread writes to no cache line of another. A power of two, for an even share.
inline std::int64_t chunk_count(std::int64_t rows) {
  std::int64_t count = 1;
  while (count < 16 && 2 * count * 128 <= rows) count *= 2;
  return count;
}

struct SumPartialsCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* partials, std::int64_t count, std::int64_t distance,
                                     T* to, std::int64_t size) {
    using S = Simd<T, Bytes>;
    std::int64_t k = 0;
    for (; k + S::kWidth <= size; k += S::kWidth) {
      typename S::Vector sum = *S::at(partials + k);
      for (std::int64_t c = 1; c < count; ++c) sum += *S::at(partials + c * distance + k);
      *S::at(to + k) = sum;
    }
    for (; k < size; ++k) {
      T sum = partials[k];
      for (std::int64_t c = 1; c < count; ++c) sum += partials[c * distance + k];
      to[k] = sum;
    }
  }
};

template <class T>
using AddRows =
    lora::detail::FunctionRef<void(const MatrixView<T>& dx, std::int64_t begin, std::int64_t end)>;

/// dx = the sum over chunks of rows of W, where add(dx, begin, end) adds what the rows [begin, end)
/// give; then through the ReLU that gave `relu_output`, where there is one.
template <class T>
void sum_over_rows(std::int64_t rows, MatrixView<const T> relu_output, MatrixView<T> dx,
                   AddRows<T> add) {
  const std::int64_t chunks = chunk_count(rows);
  const auto clear = [](const MatrixView<T>& x) {
    for (std::int64_t row = 0; row < x.rows; ++row) std::fill_n(x.row(row), x.cols, T{});
  };
  if (chunks == 1) {
    clear(dx);
    add(dx, std::int64_t{0}, rows);
    return through_relu(relu_output, dx);
  }
  constexpr std::int64_t kLine = 64 / sizeof(T);
  const std::int64_t stride = (dx.cols + kLine - 1) / kLine * kLine;
  const std::int64_t distance = dx.rows * stride;
  thread_local std::vector<T> memory;
  memory.resize(static_cast<std::size_t>(chunks * distance + kLine));
  void* start = memory.data();
  std::size_t space = memory.size() * sizeof(T);
  T* const partials = static_cast<T*>(std::align(64, sizeof(T), start, space));

  lora::detail::parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      const MatrixView<T> partial{partials + c * distance, dx.rows, dx.cols, stride};
      clear(partial);
      add(partial, rows * c / chunks, rows * (c + 1) / chunks);
    }
  });
  lora::detail::parallel_for(dx.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      run_simd<SumPartialsCore>(static_cast<const T*>(partials + row * stride), chunks, distance,
                                dx.row(row), dx.cols);
    }
  });
  through_relu(relu_output, dx);
}

}  // namespace detail

template <class T>
void linear_backward_input(MatrixView<const T> dy, MatrixView<const T> w,
                           MatrixView<const T> relu_output, MatrixView<T> dx) {
  if (detail::is_large(dy.rows, w.rows, w.cols)) {
    gemm(as_is(dy), as_is(w), w.rows, dx, false);
    return detail::through_relu(relu_output, dx);
  }
  detail::sum_over_rows<T>(w.rows, relu_output, dx,
                           [&](const MatrixView<T>& sum, std::int64_t begin, std::int64_t end) {
                             run_simd<LinearBackwardInputCore>(dy, w, sum, begin, end);
                           });
}

/// Hands every element of dyᵀ x to `sink`; see OuterProductCore.
template <class T, class Sink>
void for_each_weight_gradient(MatrixView<const T> dy, MatrixView<const T> x, const Sink& sink) {
  lora::detail::parallel_for(dy.cols, detail::kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    run_simd<OuterProductCore>(dy, x, sink, begin, end);
  });
}

template <class T>
void linear_backward_weight(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> dw,
                            bool accumulate) {
  if (detail::is_large(dy.rows, dy.cols, x.cols)) {
    return gemm(transposed(dy), as_is(x), dy.rows, dw, accumulate);
  }
  for_each_weight_gradient(dy, x, StoreGradient<T>{dw, accumulate});
}

template <class T>
void linear_backward_bias(MatrixView<const T> dy, VectorView<T> db, bool accumulate) {
  if (!accumulate) std::fill_n(db.data, db.size, T{});
  for (std::int64_t row = 0; row < dy.rows; ++row) {
    run_simd<detail::AddRowCore>(static_cast<const T*>(dy.row(row)), db.data, dy.cols);
  }
}

}  // namespace lora::inline v0::cpu
