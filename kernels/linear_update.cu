// SPDX-License-Identifier: MIT
#include "kernels/linear_update.cuh"

#include "kernels/launchers.hpp"
#include "kernels/linear_backward.cuh"
#include "kernels/linear_gemm.cuh"

namespace lora::inline v0::cuda {

namespace {

template <class Sink>
int update_factored(ConstMatrix dy, ConstMatrix x, Matrix value, const Sink& sink, bool vector,
                    void* stream) {
  if (is_narrow(value.rows, value.cols)) return launch_update(factored_update(dy, x, sink), stream);
  if (!is_thin({dy.rows, value.cols, value.rows})) {
    return gemm_backward_weight(dy, x, sink, stream);
  }
  BackwardArguments p = backward_arguments(dy, x, value, {}, {});
  p.vector = vector;
  return launch_sink(p, sink, Sink{}, stream);
}

bool has_vector_rows(const AdamMatrix<float>& p) {
  return cuda::has_vector_rows(p.value) && cuda::has_vector_rows(p.m) && cuda::has_vector_rows(p.v);
}

}  // namespace

int adam_factored(ConstMatrix dy, ConstMatrix x, AdamMatrix<float> p, AdamSchedule schedule,
                  void* stream) {
  return update_factored(dy, x, p.value, adam_sink(p, schedule), has_vector_rows(p), stream);
}

int sgd_factored(ConstMatrix dy, ConstMatrix x, Matrix value, double lr, double weight_decay,
                 void* stream) {
  return update_factored(dy, x, value, sgd_sink(value, lr, weight_decay),
                         cuda::has_vector_rows(value), stream);
}

int linear_backward_adam(ConstMatrix dy, ConstMatrix x, AdamMatrix<float> weight,
                         AdamVector<float> bias, ConstMatrix relu_output, Matrix dx,
                         AdamSchedule schedule, void* stream) {
  const AdamSink bias_sink = adam_sink(bias, schedule);
  if (is_thin({dy.rows, weight.value.cols, weight.value.rows})) {
    BackwardArguments p = backward_arguments(dy, x, weight.value, relu_output, dx);
    p.vector = has_vector_rows(weight);
    return launch_backward(p, adam_sink(weight, schedule), bias_sink, stream);
  }
  // Large batches are bound by arithmetic, so a second visit of the weight costs little.
  if (dx.data != nullptr) {
    const int error = gemm_backward_input(dy, weight.value, {}, {}, relu_output, dx, stream);
    if (error != cudaSuccess) return error;
  }
  const int error = adam_factored(dy, x, weight, schedule, stream);
  if (error != cudaSuccess || bias.value.data == nullptr) return error;
  return launch_update(bias_update(dy, bias_sink), stream);
}

int linear_backward_sgd(ConstMatrix dy, ConstMatrix x, Matrix weight, ConstMatrix relu_output,
                        Matrix dx, double lr, double weight_decay, void* stream) {
  if (is_thin({dy.rows, weight.cols, weight.rows})) {
    return launch_backward(backward_arguments(dy, x, weight, relu_output, dx),
                           sgd_sink(weight, lr, weight_decay), SgdSink{}, stream);
  }
  if (dx.data != nullptr) {
    const int error = gemm_backward_input(dy, weight, {}, {}, relu_output, dx, stream);
    if (error != cudaSuccess) return error;
  }
  return sgd_factored(dy, x, weight, lr, weight_decay, stream);
}

}  // namespace lora::inline v0::cuda
