// SPDX-License-Identifier: MIT
#include "kernels/linear.cuh"

#include "kernels/launchers.hpp"
#include "kernels/linear_backward.cuh"

namespace lora::inline v0::cuda {

int linear(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y, Activation activation,
           void* stream) {
  return code_of(launch_linear<0>(linear_arguments(x, w, bias, y, activation), as_stream(stream)));
}

int linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix relu_output, Matrix dx,
                          void* stream) {
  return launch_backward(backward_arguments(dy, {}, w, relu_output, dx), NoSink{}, NoSink{},
                         stream);
}

int linear_backward_weight(ConstMatrix dy, ConstMatrix x, Matrix dw, bool accumulate,
                           void* stream) {
  return launch_sink(backward_arguments(dy, x, dw, {}, {}), store_sink(dw, accumulate),
                     StoreGradient{}, stream);
}

}  // namespace lora::inline v0::cuda
