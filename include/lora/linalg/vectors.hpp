// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// What the decompositions spend their time in, on contiguous vectors.

namespace lora::inline v0::linalg::detail {

struct DotCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* x, const T* y, std::int64_t size, T* result) {
    using S = cpu::Simd<T, Bytes>;
    constexpr int W = S::kWidth;
    typename S::Vector sum[4] = {};
    std::int64_t i = 0;
    for (; i + 4 * W <= size; i += 4 * W) {
      LORA_UNROLL
      for (int k = 0; k < 4; ++k) sum[k] += *S::at(x + i + k * W) * *S::at(y + i + k * W);
    }
    for (; i + W <= size; i += W) sum[0] += *S::at(x + i) * *S::at(y + i);
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    *result = S::sum(sum[0]);
    for (; i < size; ++i) *result += x[i] * y[i];
  }
};

struct AddScaledCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T factor, const T* x, T* y, std::int64_t size) {
    using S = cpu::Simd<T, Bytes>;
    std::int64_t i = 0;
    for (; i + S::kWidth <= size; i += S::kWidth) *S::at(y + i) += factor * *S::at(x + i);
    for (; i < size; ++i) y[i] += factor * x[i];
  }
};

struct RotateCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T c, T s, T* x, T* y, std::int64_t size) {
    using S = cpu::Simd<T, Bytes>;
    std::int64_t i = 0;
    for (; i + S::kWidth <= size; i += S::kWidth) {
      const typename S::Vector a = *S::at(x + i);
      const typename S::Vector b = *S::at(y + i);
      *S::at(x + i) = c * a + s * b;
      *S::at(y + i) = c * b - s * a;
    }
    for (; i < size; ++i) {
      const T a = x[i];
      x[i] = c * a + s * y[i];
      y[i] = c * y[i] - s * a;
    }
  }
};

/// xᵀ y
template <class T>
T dot(const T* x, const T* y, std::int64_t size) {
  T result;
  cpu::run_simd<DotCore>(x, y, size, &result);
  return result;
}

template <class T>
T norm(const T* x, std::int64_t size) {
  return std::sqrt(dot(x, x, size));
}

/// y += factor x
template <class T>
void add_scaled(T factor, const T* x, T* y, std::int64_t size) {
  cpu::run_simd<AddScaledCore>(factor, x, y, size);
}

template <class T>
void scale(T factor, T* x, std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) x[i] *= factor;
}

/// (x, y) = (c x + s y, c y - s x)
template <class T>
void rotate(T c, T s, T* x, T* y, std::int64_t size) {
  cpu::run_simd<RotateCore>(c, s, x, y, size);
}

/// Rows [begin, end) of y = A x, four at a time.
struct TimesCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> a, const T* x, T* y, std::int64_t begin,
                                     std::int64_t end) {
    using S = cpu::Simd<T, Bytes>;
    std::int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
      const T* const row = a.row(i);
      typename S::Vector sum[4] = {};
      std::int64_t k = 0;
      for (; k + S::kWidth <= a.cols; k += S::kWidth) {
        LORA_UNROLL
        for (int r = 0; r < 4; ++r) sum[r] += *S::at(row + r * a.stride + k) * *S::at(x + k);
      }
      S::sum4(sum[0], sum[1], sum[2], sum[3], y + i);
      for (; k < a.cols; ++k) {
        for (int r = 0; r < 4; ++r) y[i + r] += row[r * a.stride + k] * x[k];
      }
    }
    for (; i < end; ++i) DotCore::run<Bytes>(a.row(i), x, a.cols, y + i);
  }
};

/// Elements [begin, end) of y = Aᵀ x, four rows of A at a time.
struct TimesTransposedCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(MatrixView<const T> a, const T* x, T* y, std::int64_t begin,
                                     std::int64_t end) {
    using S = cpu::Simd<T, Bytes>;
    for (std::int64_t k = begin; k < end; ++k) y[k] = 0;
    std::int64_t i = 0;
    for (; i + 4 <= a.rows; i += 4) {
      const T* const row = a.row(i);
      std::int64_t k = begin;
      for (; k + S::kWidth <= end; k += S::kWidth) {
        typename S::Vector sum = *S::at(y + k);
        LORA_UNROLL
        for (int r = 0; r < 4; ++r) sum += x[i + r] * *S::at(row + r * a.stride + k);
        *S::at(y + k) = sum;
      }
      for (; k < end; ++k) {
        for (int r = 0; r < 4; ++r) y[k] += x[i + r] * row[r * a.stride + k];
      }
    }
    for (; i < a.rows; ++i)
      AddScaledCore::run<Bytes>(x[i], a.row(i) + begin, y + begin, end - begin);
  }
};

/// y = A x
template <class T>
void times(const MatrixView<const T>& a, const T* x, T* y) {
  lora::detail::parallel_for(a.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    cpu::run_simd<TimesCore>(a, x, y, begin, end);
  });
}

/// y = Aᵀ x. Threads share the columns, so that each sum runs in one order.
template <class T>
void times_transposed(const MatrixView<const T>& a, const T* x, T* y) {
  lora::detail::parallel_for(a.cols, 256, [&](std::int64_t begin, std::int64_t end) {
    cpu::run_simd<TimesTransposedCore>(a, x, y, begin, end);
  });
}

}  // namespace lora::inline v0::linalg::detail
