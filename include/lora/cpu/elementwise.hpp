// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/cpu/simd.hpp>
#include <lora/cpu/vectors.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void fill(VectorView<T> y, double value) {
  std::fill_n(y.data, y.size, static_cast<T>(value));
}

namespace detail {

struct ScaleCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(T* y, T factor, std::int64_t size) {
    using S = Simd<T, Bytes>;
    map_vectors<S>(
        size, T{0},
        [&](T* to, const T* from) LORA_INLINE_LAMBDA { *S::at(to) = factor * *S::at(from); }, y, y);
  }
};

// Rounded twice, as in the kernels, so that adding with a factor of 1 is plain addition and the
// bits are the same everywhere.
struct AddScaledCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const T* x, T* y, T factor, std::int64_t size) {
    using S = Simd<T, Bytes>;
    map_vectors<S>(
        size, T{0},
        [&](T* to, const T* in, const T* before) LORA_INLINE_LAMBDA {
          typename S::Vector product = factor * *S::at(in);
#if defined(__x86_64__) && !defined(__clang__)
          asm("" : "+v"(product));  // GCC would make one rounding of the two
#endif
          *S::at(to) = *S::at(before) + product;
        },
        y, x, static_cast<const T*>(y));
  }
};

constexpr std::int64_t kElementGrain = 4096;

}  // namespace detail

template <class T>
void scale(VectorView<T> y, double factor) {
  lora::detail::parallel_for(
      y.size, detail::kElementGrain, [&](std::int64_t begin, std::int64_t end) {
        run_simd<detail::ScaleCore>(y.data + begin, static_cast<T>(factor), end - begin);
      });
}

template <class T>
void add_scaled(VectorView<const T> x, VectorView<T> y, double factor) {
  lora::detail::parallel_for(y.size, detail::kElementGrain,
                             [&](std::int64_t begin, std::int64_t end) {
                               run_simd<detail::AddScaledCore>(x.data + begin, y.data + begin,
                                                               static_cast<T>(factor), end - begin);
                             });
}

}  // namespace lora::inline v0::cpu
