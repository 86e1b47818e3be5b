// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <lora/view.hpp>

// The seam between the headers and a compiled device library. Only plain data crosses it: no CUDA
// type, no standard container, no exception. Functions return 0 or an error code, which the header
// side turns into an exception with the operation and the shapes.

#if defined(_WIN32)
#define LORA_SHARED
#else
#define LORA_SHARED __attribute__((visibility("default")))
#endif

namespace lora::inline v0::detail {

enum class CopyKind : int { host_to_device, device_to_host, device_to_device };

/// The scalars of one Adam update, worked out in double on the host (see ops/adam.hpp).
struct AdamScalars {
  double one_minus_beta1, beta1, one_minus_beta2, beta2;
  double step_size;              // lr / (1 - beta1^t)
  double sqrt_bias_correction2;  // sqrt(1 - beta2^t)
  double eps;
  double weight_decay;
};

/// Everything a device library offers, float32 only. Append-only: `size` tells what is there.
struct Backend {
  using Matrix = MatrixView<float>;
  using ConstMatrix = MatrixView<const float>;
  using Vector = VectorView<float>;
  using ConstVector = VectorView<const float>;
  using Stream = void*;

  int abi;
  int size;

  /// Null when the device can be used, else one sentence that says why it cannot.
  const char* (*unavailable)() noexcept;
  const char* (*error_text)(int code) noexcept;

  int (*allocate)(void** memory, std::size_t bytes, Stream);
  void (*release)(void* memory, Stream) noexcept;
  int (*copy)(void* to, const void* from, std::size_t bytes, CopyKind, Stream);

  int (*fill)(Vector y, double value, Stream);
  int (*scale)(Vector y, double factor, Stream);
  int (*add_scaled)(ConstVector x, Vector y, double factor, Stream);
  int (*relu)(ConstVector x, Vector y, Stream);
  int (*relu_backward)(ConstVector y, ConstVector dy, Vector dx, Stream);
  int (*argmax)(ConstMatrix x, VectorView<std::int32_t> indices, Stream);
  int (*normalize_rows)(MatrixView<const std::uint8_t> x, VectorView<const std::int64_t> rows,
                        Matrix y, double mean, double std, Stream);

  int (*linear)(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y, Stream);
  int (*linear_backward_input)(ConstMatrix dy, ConstMatrix w, Matrix dx, Stream);
  int (*linear_backward_weight)(ConstMatrix dy, ConstMatrix x, Matrix dw, bool accumulate, Stream);
  int (*linear_backward_bias)(ConstMatrix dy, Vector db, bool accumulate, Stream);

  int (*lora_linear)(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix a, ConstMatrix b,
                     Matrix h, Matrix y, double scale, Stream);
  int (*lora_linear_backward_input)(ConstMatrix dy, ConstMatrix w, ConstMatrix a, ConstMatrix b,
                                    Matrix dh, Matrix dx, double scale, Stream);
  int (*lora_merge)(ConstMatrix a, ConstMatrix b, Matrix w, double scale, Stream);

  int (*softmax_cross_entropy)(ConstMatrix logits, VectorView<const std::int32_t> labels,
                               Matrix dlogits, double* loss, Stream);

  int (*adam)(ConstVector gradient, Vector value, Vector m, Vector v, AdamScalars, Stream);
  int (*adam_factored)(ConstMatrix dy, ConstMatrix x, Matrix value, Matrix m, Matrix v, AdamScalars,
                       Stream);
  int (*sgd)(ConstVector gradient, Vector value, double lr, double weight_decay, Stream);
  int (*sgd_factored)(ConstMatrix dy, ConstMatrix x, Matrix value, double lr, double weight_decay,
                      Stream);

  int (*linear_backward_adam)(ConstMatrix dy, ConstMatrix x, Matrix value, Matrix m, Matrix v,
                              Matrix dx, AdamScalars, Stream);
  int (*linear_backward_sgd)(ConstMatrix dy, ConstMatrix x, Matrix value, Matrix dx, double lr,
                             double weight_decay, Stream);
};

/// Null until <lora/cuda.hpp> registers the kernel library. Of default visibility, so that two
/// shared objects compiled with -fvisibility=hidden still see one pointer.
LORA_SHARED inline const Backend* cuda_backend = nullptr;

}  // namespace lora::inline v0::detail
