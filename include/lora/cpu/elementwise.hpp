// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void fill(VectorView<T> y, double value) {
  std::fill_n(y.data, y.size, static_cast<T>(value));
}

template <class T>
void scale(VectorView<T> y, double factor) {
  const T f = static_cast<T>(factor);
  for (std::int64_t i = 0; i < y.size; ++i) y[i] *= f;
}

template <class T>
void add_scaled(VectorView<const T> x, VectorView<T> y, double factor) {
  const T f = static_cast<T>(factor);
  for (std::int64_t i = 0; i < y.size; ++i) y[i] += f * x[i];
}

}  // namespace lora::inline v0::cpu
