// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <lora/cpu/simd.hpp>
#include <lora/cpu/vectors.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// What layer_norm and rms_norm share: the second is the first with a mean of 0. Both directions
// visit a row two or three times while it is in the cache, so memory is read and written once: 8
// bytes a float forward, 12 backward, the gradients of weight and bias included.

namespace lora::inline v0::cpu {

/// rms_norm's mean has no data, and a bias may have none.
template <class T>
struct NormOutputs {
  VectorView<const T> weight, bias;  // (D,)
  VectorView<T> mean, inv_std;       // of the rows
  T eps;
};

template <class T>
struct NormInputs {
  VectorView<const T> weight;         // (D,)
  VectorView<const T> mean, inv_std;  // of the rows
};

namespace detail {

/// Σ (x - centre) and Σ (x - centre)² of a row.
template <class S, class T>
LORA_ALWAYS_INLINE void row_moments(const T* row, std::int64_t size, T centre, T& first,
                                    T& second) {
  using V = typename S::Vector;
  V sum[2] = {}, squares[2] = {};
  visit_vectors<S>(
      size, centre,
      [&](int i, const T* x) LORA_INLINE_LAMBDA {
        const V d = *S::at(x) - centre;
        sum[i] += d;
        squares[i] += d * d;
      },
      row);
  first = S::sum(sum[0] + sum[1]);
  second = S::sum(squares[0] + squares[1]);
}

template <class S, class T>
LORA_ALWAYS_INLINE T row_sum(const T* row, std::int64_t size) {
  typename S::Vector sum[2] = {};
  visit_vectors<S>(
      size, T{}, [&](int i, const T* x) LORA_INLINE_LAMBDA { sum[i] += *S::at(x); }, row);
  return S::sum(sum[0] + sum[1]);
}

/// Rows [begin, end) of y = (x - mean) inv_std ∘ weight + bias.
struct NormCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> x, NormOutputs<T> norm, MatrixView<T> y,
                                     std::int64_t begin, std::int64_t end) {
    using S = Simd<T, Bytes>;
    const T share = T{1} / static_cast<T>(x.cols);
    for (std::int64_t row = begin; row < end; ++row) {
      const bool is_centred = norm.mean.data != nullptr;
      T mean = is_centred ? row_sum<S>(x.row(row), x.cols) * share : T{};
      T sum, squares;
      row_moments<S>(x.row(row), x.cols, mean, sum, squares);
      T variance = squares * share;
      if (is_centred) {
        // What rounding left out of the mean: Chan, Golub and LeVeque, "Algorithms for Computing
        // the Sample Variance", The American Statistician 37, 1983.
        const T missing = sum * share;
        mean += missing;
        variance -= missing * missing;
        norm.mean[row] = mean;
      }
      const T inv_std = T{1} / std::sqrt(variance + norm.eps);
      norm.inv_std[row] = inv_std;
      store<S>(x.row(row), norm, mean, inv_std, y.row(row), x.cols);
    }
  }

 private:
  template <class S, class T>
  static LORA_ALWAYS_INLINE void store(const T* x, const NormOutputs<T>& norm, T mean, T inv_std,
                                       T* y, std::int64_t size) {
    if (norm.bias.data) {
      map_vectors<S>(
          size, T{},
          [&](T* to, const T* from, const T* weight, const T* bias) LORA_INLINE_LAMBDA {
            *S::at(to) = (*S::at(from) - mean) * inv_std * *S::at(weight) + *S::at(bias);
          },
          y, x, norm.weight.data, norm.bias.data);
    } else {
      map_vectors<S>(
          size, T{},
          [&](T* to, const T* from, const T* weight)
              LORA_INLINE_LAMBDA { *S::at(to) = (*S::at(from) - mean) * inv_std * *S::at(weight); },
          y, x, norm.weight.data);
    }
  }
};

/// Rows [begin, end) of dx, and what they add to dweight and dbias. Each of the three may be null.
struct NormBackwardCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> dy, MatrixView<const T> x,
                                     NormInputs<T> norm, MatrixView<T> dx, T* dweight, T* dbias,
                                     std::int64_t begin, std::int64_t end) {
    using S = Simd<T, Bytes>;
    for (std::int64_t row = begin; row < end; ++row) {
      const T mean = norm.mean.data ? norm.mean[row] : T{};
      const T inv_std = norm.inv_std[row];
      if (dweight) {
        map_vectors<S>(
            x.cols, T{},
            [&](T* to, const T* sum, const T* g, const T* from) LORA_INLINE_LAMBDA {
              *S::at(to) = *S::at(sum) + *S::at(g) * ((*S::at(from) - mean) * inv_std);
            },
            dweight, dweight, dy.row(row), x.row(row));
      }
      if (dbias) {
        map_vectors<S>(
            x.cols, T{},
            [&](T* to, const T* sum, const T* g)
                LORA_INLINE_LAMBDA { *S::at(to) = *S::at(sum) + *S::at(g); },
            dbias, dbias, dy.row(row));
      }
      // Last, because dx may be dy.
      if (dx.data)
        input_gradient<S>(dy.row(row), x.row(row), norm, mean, inv_std, dx.row(row), x.cols);
    }
  }

 private:
  template <class S, class T>
  static LORA_ALWAYS_INLINE void input_gradient(const T* dy, const T* x, const NormInputs<T>& norm,
                                                T mean, T inv_std, T* dx, std::int64_t size) {
    using V = typename S::Vector;
    const T* const weight = norm.weight.data;
    V sums[2] = {}, products[2] = {};
    visit_vectors<S>(
        size, T{},
        [&](int i, const T* g, const T* from, const T* w) LORA_INLINE_LAMBDA {
          const V weighted = *S::at(g) * *S::at(w);
          sums[i] += weighted;
          products[i] += weighted * ((*S::at(from) - mean) * inv_std);
        },
        dy, x, weight);
    const T share = T{1} / static_cast<T>(size);
    const T centre = norm.mean.data ? S::sum(sums[0] + sums[1]) * share : T{};
    const T slope = S::sum(products[0] + products[1]) * share;
    map_vectors<S>(
        size, T{},
        [&](T* to, const T* g, const T* from, const T* w) LORA_INLINE_LAMBDA {
          const V normalized = (*S::at(from) - mean) * inv_std;
          *S::at(to) = inv_std * (*S::at(g) * *S::at(w) - centre - normalized * slope);
        },
        dx, dy, x, weight);
  }
};

struct AddCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* x, T* y, std::int64_t size) {
    using S = Simd<T, Bytes>;
    map_vectors<S>(
        size, T{},
        [](T* to, const T* a, const T* b)
            LORA_INLINE_LAMBDA { *S::at(to) = *S::at(a) + *S::at(b); },
        y, y, x);
  }
};

/// In how many chunks the rows are taken where a sum goes over them; the chunks' sums are added in
/// order. It depends on the shape, not on the threads.
inline std::int64_t norm_chunks(std::int64_t rows) {
  std::int64_t count = 1;
  while (count < 32 && 2 * count * 16 <= rows) count *= 2;
  return count;
}

/// Rows that a thread takes at a time: not less than some microseconds' work.
inline std::int64_t norm_grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, cols));
}

}  // namespace detail

template <class T>
void norm_forward(MatrixView<const T> x, const NormOutputs<T>& norm, MatrixView<T> y) {
  lora::detail::parallel_for(x.rows, detail::norm_grain(x.cols),
                             [&](std::int64_t begin, std::int64_t end) {
                               run_simd<detail::NormCore>(x, norm, y, begin, end);
                             });
}

/// Gradients without data are not wanted.
template <class T>
void norm_backward(MatrixView<const T> dy, MatrixView<const T> x, const NormInputs<T>& norm,
                   MatrixView<T> dx, VectorView<T> dweight, VectorView<T> dbias,
                   bool accumulate_weight, bool accumulate_bias) {
  T* const none = nullptr;
  if (!dweight.data && !dbias.data) {
    return lora::detail::parallel_for(
        x.rows, detail::norm_grain(x.cols), [&](std::int64_t begin, std::int64_t end) {
          run_simd<detail::NormBackwardCore>(dy, x, norm, dx, none, none, begin, end);
        });
  }
  // Each chunk's sums begin at a cache line of their own.
  constexpr std::int64_t kLine = 64 / sizeof(T);
  const std::int64_t chunks = detail::norm_chunks(x.rows);
  const std::int64_t distance = (x.cols + 2 * kLine - 1) / kLine * kLine;
  thread_local std::vector<T> memory;
  memory.assign(static_cast<std::size_t>(2 * chunks * distance), T{});
  T* const sums = memory.data();
  const auto weight_sum = [&](std::int64_t c) {
    return dweight.data ? sums + 2 * c * distance : none;
  };
  const auto bias_sum = [&](std::int64_t c) {
    return dbias.data ? sums + (2 * c + 1) * distance : none;
  };
  lora::detail::parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      run_simd<detail::NormBackwardCore>(dy, x, norm, dx, weight_sum(c), bias_sum(c),
                                         x.rows * c / chunks, x.rows * (c + 1) / chunks);
    }
  });
  const auto finish = [&](VectorView<T> gradient, bool accumulate, const auto& sum_of) {
    if (!gradient.data) return;
    if (!accumulate) std::fill_n(gradient.data, gradient.size, T{});
    for (std::int64_t c = 0; c < chunks; ++c) {
      run_simd<detail::AddCore>(static_cast<const T*>(sum_of(c)), gradient.data, gradient.size);
    }
  };
  finish(dweight, accumulate_weight, weight_sum);
  finish(dbias, accumulate_bias, bias_sum);
}

}  // namespace lora::inline v0::cpu
