// SPDX-License-Identifier: MIT
#pragma once

#include <lora/cpu/norm.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void layer_norm(MatrixView<const T> x, VectorView<const T> weight, VectorView<const T> bias,
                MatrixView<T> y, VectorView<T> mean, VectorView<T> inv_std, double eps) {
  norm_forward<T>(x, {weight, bias, mean, inv_std, static_cast<T>(eps)}, y);
}

template <class T>
void layer_norm_backward(MatrixView<const T> dy, MatrixView<const T> x, VectorView<const T> weight,
                         VectorView<const T> mean, VectorView<const T> inv_std, MatrixView<T> dx,
                         VectorView<T> dweight, VectorView<T> dbias, bool accumulate_weight,
                         bool accumulate_bias) {
  norm_backward<T>(dy, x, {weight, mean, inv_std}, dx, dweight, dbias, accumulate_weight,
                   accumulate_bias);
}

}  // namespace lora::inline v0::cpu
