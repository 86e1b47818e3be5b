// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/activation.hpp>

#include "kernels/gemm.cuh"
#include "kernels/weight_sinks.cuh"

// The three products of a linear layer by tiles, and what is done to their elements before they are
// stored.

namespace lora::inline v0::cuda {

__device__ __forceinline__ float at(const float4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

/// y = relu?(sum + bias), or 0 where the ReLU in front gave 0.
struct FinishOutput {
  static constexpr int kMostThreads = 512;
  float* y;
  std::int64_t stride;
  const float* bias;         // null: none
  const float* relu_output;  // null: none
  std::int64_t relu_stride;
  bool relu;
  bool vector;

  __device__ __forceinline__ float finished(float sum, int m, int n) const {
    if (bias != nullptr) sum = __fadd_rn(sum, bias[n]);
    if (relu && sum < 0.0f) sum = 0.0f;
    if (relu_output != nullptr && relu_output[m * relu_stride + n] <= 0.0f) sum = 0.0f;
    return sum;
  }

  __device__ __forceinline__ void operator()(int m, int n, int columns, const float4& sum) const {
    float* const to = y + m * stride + n;
    if (vector) {
      *reinterpret_cast<float4*>(to) =
          make_float4(finished(sum.x, m, n), finished(sum.y, m, n + 1), finished(sum.z, m, n + 2),
                      finished(sum.w, m, n + 3));
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j < columns) to[j] = finished(at(sum, j), m, n + j);
    }
  }
};

/// Hands the elements of a weight's gradient to a sink.
template <class Sink>
struct FinishUpdate {
  // Beside 64 sums a thread of the large tile has no room for Adam's states in 128 registers.
  static constexpr int kMostThreads = Sink::kStates > 1 ? 256 : 512;

  Sink sink;

  __device__ __forceinline__ void operator()(int o, int k, int columns, const float4& sum) const {
    const typename Sink::Step step = sink.step();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j < columns) update_at(sink, step, o, k + j, at(sum, j));
    }
  }
};

/// Rows of C that are rows of the matrix.
inline GemmOperand along_k(ConstMatrix x) {
  return {x.data, x.stride, static_cast<int>(x.rows), false};
}

/// Rows or columns of C that are columns of the matrix.
inline GemmOperand across(ConstMatrix x) {
  return {x.data, x.stride, static_cast<int>(x.cols), has_vector_rows(x)};
}

/// y = relu?(x wᵀ + bias + h bᵀ)
inline int gemm_forward(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix h,
                        ConstMatrix b, Matrix y, Activation activation, void* stream) {
  const LowRankFactors low_rank{h.data, h.stride, b.data, 1, b.stride, static_cast<int>(b.cols)};
  const FinishOutput finish{
      y.data, y.stride, bias.data, nullptr, 0, activation == Activation::relu, has_vector_rows(y)};
  return launch_gemm<Order::kAlongK, Order::kAlongK>(along_k(x), along_k(w), w.cols, low_rank,
                                                     finish, stream);
}

/// dx = dy w + dh a, through the ReLU that gave `relu_output`.
inline int gemm_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix dh, ConstMatrix a,
                               ConstMatrix relu_output, Matrix dx, void* stream) {
  const LowRankFactors low_rank{dh.data, dh.stride, a.data, a.stride, 1, static_cast<int>(a.rows)};
  const FinishOutput finish{
      dx.data, dx.stride,          nullptr, relu_output.data, relu_output.stride,
      false,   has_vector_rows(dx)};
  return launch_gemm<Order::kAlongK, Order::kAcross>(along_k(dy), across(w), w.rows, low_rank,
                                                     finish, stream);
}

/// dyᵀ x to the sink.
template <class Sink>
int gemm_backward_weight(ConstMatrix dy, ConstMatrix x, const Sink& sink, void* stream) {
  return launch_gemm<Order::kAcross, Order::kAcross>(across(dy), across(x), dy.rows, {},
                                                     FinishUpdate<Sink>{sink}, stream);
}

}  // namespace lora::inline v0::cuda
