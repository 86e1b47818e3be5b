// SPDX-License-Identifier: MIT
#include "kernels/lora_linear.cuh"

#include "kernels/launchers.hpp"
#include "kernels/linear.cuh"
#include "kernels/linear_backward.cuh"

namespace lora::inline v0::cuda {

// Where h comes from. Every block of the forward kernel needs all of h (B, R). Up to kMaxFusedRank
// each computes it anew: 4 R I bytes of A from L2 a block, 0.4 MB in all for R = 1 and I = 784 with
// 125 blocks, 8 MB for R = 16 and I = 1000, which at some 5 TB/s take as long as the gap to another
// launch, a microsecond or two. Above that h gets a launch of its own, which reads A once.
int lora_linear(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix a, ConstMatrix b,
                Matrix h, Matrix y, double scale, Activation activation, void* stream) {
  LinearArguments p = linear_arguments(x, w, bias, y, activation);
  p.rank = static_cast<int>(a.rows);
  p.a = a.data;
  p.a_stride = a.stride;
  p.a_vector = has_vector_rows(x) && has_vector_rows(a);
  p.b = b.data;
  p.b_stride = b.stride;
  p.h = h.data;
  p.h_stride = h.stride;
  p.h_scale = static_cast<float>(scale);
  if (p.rank > 0 && p.rank <= kMaxFusedRank && p.out > 0) {
    // One row of A to a warp keeps more warps busy as long as there are as many as rows.
    return code_of(p.rank <= 2 ? launch_linear<1>(p, as_stream(stream))
                               : launch_linear<4>(p, as_stream(stream)));
  }
  LinearArguments down = linear_arguments(x, a, {}, h, Activation::none);
  down.scale = static_cast<float>(scale);
  if (const cudaError_t error = launch_linear<0>(down, as_stream(stream)); error != cudaSuccess) {
    return code_of(error);
  }
  return code_of(launch_linear<0>(p, as_stream(stream)));
}

int lora_linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix a, ConstMatrix b,
                               ConstMatrix relu_output, Matrix dh, Matrix dx, double scale,
                               void* stream) {
  if (const int error = launch_low_rank_gradient(dy, b, dh, scale, stream); error != cudaSuccess) {
    return error;
  }
  BackwardArguments p = backward_arguments(dy, {}, w, relu_output, dx);
  p.dh = dh.data;
  p.dh_stride = dh.stride;
  p.a = a.data;
  p.a_stride = a.stride;
  p.rank = static_cast<int>(a.rows);
  p.vector = has_vector_rows(w) && has_vector_rows(a);
  return launch_backward(p, NoSink{}, NoSink{}, stream);
}

}  // namespace lora::inline v0::cuda
