// SPDX-License-Identifier: MIT
#include "kernels/launchers.hpp"
#include "kernels/linear_backward.cuh"
#include "kernels/linear_gemm.cuh"
#include "kernels/lora_linear.cuh"

namespace lora::inline v0::cuda {

// Two launches: dh with the update of B, and dx with the update of A, each with the old values. Two
// cases have the update of A, which needs nothing but the small dh and x, in a launch of its own:
// more than kMaxFusedRank rows of A, and large batches, where arithmetic dominates.
int lora_linear_backward_adam(ConstMatrix dy, ConstMatrix x, ConstMatrix w, ConstMatrix h,
                              AdamMatrix<float> a, AdamMatrix<float> b, ConstMatrix relu_output,
                              Matrix dh, Matrix dx, double scale, AdamSchedule of_a,
                              AdamSchedule of_b, void* stream) {
  int error = launch_low_rank_gradient(dy, b.value, h, dh, scale, adam_sink(b, of_b), stream);
  if (error != cudaSuccess) return error;
  if (dx.data != nullptr && dy.rows > 0) {
    if (!is_thin({dy.rows, w.cols, w.rows})) {
      error = gemm_backward_input(dy, w, dh, a.value, relu_output, dx, stream);
    } else {
      const BackwardArguments p =
          low_rank_backward_arguments(dy, x, w, dh, a.value, relu_output, dx);
      if (a.value.rows <= kMaxFusedRank) {
        return launch_backward(p, NoSink{}, NoSink{}, stream, adam_sink(a, of_a));
      }
      error = launch_backward(p, NoSink{}, NoSink{}, stream);
    }
    if (error != cudaSuccess) return error;
  }
  return adam_factored(dh, x, a, of_a, stream);
}

}  // namespace lora::inline v0::cuda
