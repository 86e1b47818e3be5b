// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/norm.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void rms_norm(MatrixView<const T> x, VectorView<const T> weight, MatrixView<T> y,
              VectorView<T> inv_rms, double eps) {
  norm_forward<T>(x, {weight, {}, {}, inv_rms, static_cast<T>(eps)}, y);
}

template <class T>
void rms_norm_backward(MatrixView<const T> dy, MatrixView<const T> x, VectorView<const T> weight,
                       VectorView<const T> inv_rms, MatrixView<T> dx, VectorView<T> dweight,
                       bool accumulate) {
  norm_backward<T>(dy, x, {weight, {}, inv_rms}, dx, dweight, {}, accumulate, false);
}

}  // namespace lora::inline v0::cpu
