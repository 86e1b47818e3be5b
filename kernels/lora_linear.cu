// SPDX-License-Identifier: MIT
#include "kernels/lora_linear.cuh"

#include "kernels/launchers.hpp"
#include "kernels/linear.cuh"
#include "kernels/linear_backward.cuh"
#include "kernels/linear_gemm.cuh"

namespace lora::inline v0::cuda {

namespace {

/// h = scale x Aᵀ in a launch of its own. In a large batch x is the large matrix, so the two change
/// places: A is the batch of few rows, and x is what is read once, row by row.
int launch_down(ConstMatrix x, ConstMatrix a, Matrix h, double scale, void* stream) {
  LinearArguments p = is_thin({x.rows, a.cols, a.rows})
                          ? linear_arguments(x, a, {}, h, Activation::none)
                          : transposed_linear_arguments(x, a, {}, h, Activation::none);
  p.scale = static_cast<float>(scale);
  return code_of(launch_linear<0>(p, as_stream(stream)));
}

}  // namespace

// Where h comes from. Every block of the thin forward kernel needs all of h (B, R). Up to
// kMaxFusedRank each computes it anew: 4 R I bytes of A from L2 a block, 0.4 MB in all for R = 1
// and I = 784 with 125 blocks, 8 MB for R = 16 and I = 1000, which at some 5 TB/s take as long as
// the gap to another launch, a microsecond or two. Above that, and in large batches, h gets a
// launch of its own, which reads A once.
int lora_linear(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix a, ConstMatrix b,
                Matrix h, Matrix y, double scale, Activation activation, void* stream) {
  const bool thin = is_thin({x.rows, w.cols, w.rows});
  const bool fused = thin && a.rows > 0 && a.rows <= kMaxFusedRank && w.rows > 0;
  if (!fused) {
    const int error = launch_down(x, a, h, scale, stream);
    if (error != cudaSuccess) return error;
    if (is_thin_transposed({x.rows, w.cols, w.rows})) {
      LinearArguments p = transposed_linear_arguments(x, w, bias, y, activation);
      add_low_rank(p, b, h);
      return code_of(launch_linear<0>(p, as_stream(stream)));
    }
    if (!thin) return gemm_forward(x, w, bias, h, b, y, activation, stream);
  }
  LinearArguments p = linear_arguments(x, w, bias, y, activation);
  add_low_rank(p, h, b);
  if (!fused) return code_of(launch_linear<0>(p, as_stream(stream)));
  p.a = a.data;
  p.a_stride = a.stride;
  p.a_vector = has_vector_rows(x) && has_vector_rows(a);
  p.h = h.data;
  p.h_stride = h.stride;
  p.h_scale = static_cast<float>(scale);
  // One row of A to a warp keeps more warps busy while there are no more rows than warps.
  return code_of(p.rank <= 2 ? launch_linear<1>(p, as_stream(stream))
                             : launch_linear<4>(p, as_stream(stream)));
}

int lora_linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix a, ConstMatrix b,
                               ConstMatrix relu_output, Matrix dh, Matrix dx, double scale,
                               void* stream) {
  const int error = launch_low_rank_gradient(dy, b, {}, dh, scale, NoSink{}, stream);
  if (error != cudaSuccess || dx.data == nullptr) return error;
  if (!is_thin({dy.rows, w.cols, w.rows})) {
    return gemm_backward_input(dy, w, dh, a, relu_output, dx, stream);
  }
  return launch_backward(low_rank_backward_arguments(dy, {}, w, dh, a, relu_output, dx), NoSink{},
                         NoSink{}, stream);
}

}  // namespace lora::inline v0::cuda
