// SPDX-License-Identifier: MIT
#pragma once

#include <lora/detail/backend.hpp>

#include "kernels/device/compat.cuh"

// What an optimizer does to one element, once its gradient is in a register. Every operation is
// spelled with its rounding, the one of cpu/adam.hpp and cpu/sgd.hpp, so that equal gradients give
// the bits that the CPU gives, whatever the compiler would like to contract.

namespace lora::inline v0::cuda {

/// Adam with the scalars of one step, rounded to float.
struct AdamStep {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, minus_step_size, eps, weight_decay;
  float minus_decoupled_decay;

  /// The scalars of the step that is due: from the arguments, or from the table on the device.
  static __device__ __forceinline__ AdamStep of(const detail::AdamSchedule& schedule) {
    const detail::AdamScalars* from_table =
        schedule.of_step ? schedule.of_step + (*schedule.step - 1) : nullptr;
    const detail::AdamScalars s = from_table ? *from_table : schedule.now;
    return {
        static_cast<float>(s.beta1),
        static_cast<float>(s.one_minus_beta1),
        static_cast<float>(s.beta2),
        static_cast<float>(s.one_minus_beta2),
        static_cast<float>(-(schedule.lr_ratio * s.step_size)),
        static_cast<float>(s.eps),
        static_cast<float>(schedule.weight_decay_ratio * s.weight_decay),
        static_cast<float>(-(schedule.lr_ratio * schedule.weight_decay_ratio * s.decoupled_decay))};
  }

  __device__ __forceinline__ void update(float g, float& value, float& m, float& v) const {
    if (weight_decay != 0.0f) g = __fmaf_rn(weight_decay, value, g);
    m = __fmaf_rn(g, one_minus_beta1, __fmul_rn(m, beta1));
    v = __fmaf_rn(__fmul_rn(g, one_minus_beta2), g, __fmul_rn(v, beta2));
    const float denominator = __fadd_rn(__fsqrt_rn(v), eps);
    float change = __fdiv_rn(__fmul_rn(minus_step_size, m), denominator);
    if (minus_decoupled_decay != 0.0f) change = __fmaf_rn(minus_decoupled_decay, value, change);
    value = __fadd_rn(value, change);
  }
};

/// Gradient descent: value -= lr (g + weight_decay value).
struct SgdStep {
  float minus_lr, weight_decay;

  __device__ __forceinline__ void update(float g, float& value) const {
    g = __fmaf_rn(weight_decay, value, g);
    value = __fmaf_rn(minus_lr, g, value);
  }
};

}  // namespace lora::inline v0::cuda
