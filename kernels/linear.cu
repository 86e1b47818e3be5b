// SPDX-License-Identifier: MIT
#include "kernels/linear.cuh"

#include "kernels/cublas.hpp"
#include "kernels/launchers.hpp"
#include "kernels/linear_backward.cuh"
#include "kernels/linear_gemm.cuh"
#include "kernels/linear_update.cuh"

namespace lora::inline v0::cuda {

int linear(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y, Activation activation,
           void* stream) {
  const LinearProblem problem{x.rows, w.cols, w.rows};
  if (is_thin_transposed(problem)) {
    return code_of(launch_linear<0>(transposed_linear_arguments(x, w, bias, y, activation),
                                    as_stream(stream)));
  }
  if (!is_thin(problem)) {
    if (use_cublas() && bias.data == nullptr && activation == Activation::none) {
      return cublas_product({x, false}, {w, true}, w.cols, y, false, stream);
    }
    return gemm_forward(x, w, bias, {}, {}, y, activation, stream);
  }
  return code_of(launch_linear<0>(linear_arguments(x, w, bias, y, activation), as_stream(stream)));
}

int linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix relu_output, Matrix dx,
                          void* stream) {
  if (!is_thin({dy.rows, w.cols, w.rows})) {
    if (use_cublas() && relu_output.data == nullptr) {
      return cublas_product({dy, false}, {w, false}, w.rows, dx, false, stream);
    }
    return gemm_backward_input(dy, w, {}, {}, relu_output, dx, stream);
  }
  return launch_backward(backward_arguments(dy, {}, w, relu_output, dx), NoSink{}, NoSink{},
                         stream);
}

int linear_backward_weight(ConstMatrix dy, ConstMatrix x, Matrix dw, bool accumulate,
                           void* stream) {
  const StoreGradient sink = store_sink(dw, accumulate);
  if (is_narrow(dw.rows, dw.cols)) return launch_update(factored_update(dy, x, sink), stream);
  if (!is_thin({dy.rows, dw.cols, dw.rows})) {
    if (use_cublas())
      return cublas_product({dy, true}, {x, false}, dy.rows, dw, accumulate, stream);
    return gemm_backward_weight(dy, x, sink, stream);
  }
  return launch_sink(backward_arguments(dy, x, dw, {}, {}), sink, StoreGradient{}, stream);
}

}  // namespace lora::inline v0::cuda
