// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/view.hpp>

namespace lora::inline v0::cpu {

// Written so that a NaN stays a NaN and -0 stays -0, as in PyTorch.
template <class T>
T relu_of(T x) {
  return x < T{0} ? T{0} : x;
}

template <class T>
void relu(VectorView<const T> x, VectorView<T> y) {
  for (std::int64_t i = 0; i < x.size; ++i) y[i] = relu_of(x[i]);
}

template <class T>
void relu_backward(VectorView<const T> y, VectorView<const T> dy, VectorView<T> dx) {
  for (std::int64_t i = 0; i < y.size; ++i) dx[i] = y[i] <= T{0} ? T{0} : dy[i];
}

}  // namespace lora::inline v0::cpu
