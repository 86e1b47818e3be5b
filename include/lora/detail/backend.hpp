// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include <lora/activation.hpp>
#include <lora/detail/conv2d_sizes.hpp>
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
  double step_size;        // lr sqrt(1 - beta2^t) / (1 - beta1^t)
  double eps;              // eps sqrt(1 - beta2^t)
  double weight_decay;     // added to the gradient, times the value
  double decoupled_decay;  // lr weight_decay of AdamW: subtracted from the value, times the value
};

/// Where an update finds its scalars: in `now`, or, in a captured graph, whose arguments are fixed,
/// on the device: those of step *step, counted from 1, are of_step[*step - 1]. The parameter's own
/// lr_ratio multiplies their step_size, its weight_decay_ratio their weight_decay, and both their
/// decoupled_decay, so that one table serves parameters of all groups.
struct AdamSchedule {
  AdamScalars now;
  const AdamScalars* of_step;
  const std::int64_t* step;
  double lr_ratio = 1;
  double weight_decay_ratio = 1;
};

/// Where a loss goes: losses[0], or, in a captured graph, losses[(*step - 1) % capacity] for the
/// step counted from 1. Device memory, or host memory that the device can write to.
struct LossSlots {
  double* losses;
  std::int64_t capacity;
  const std::int64_t* step;
};

/// Which elements a dropout keeps and what they are multiplied by, worked out on the host (see
/// ops/dropout.hpp). In a captured graph `step` points to a number on the device that is added to
/// `offset`; null: nothing is.
struct DropoutMask {
  std::uint32_t key[2];
  std::uint32_t threshold;  // an element is kept if its word is not below
  std::uint64_t offset;
  const std::int64_t* step;
  double scale;
};

/// A parameter and its two moments.
template <class T>
struct AdamMatrix {
  MatrixView<T> value, m, v;
};

template <class T>
struct AdamVector {
  VectorView<T> value, m, v;
};

/// One low-rank term of a layer that runs several adapters: to the rows of the batch whose id is
/// `id`, or to all rows of a batch without ids, it adds gain ∘ (h Bᵀ) with h = scale x Aᵀ, in the
/// S outputs that it reaches: all O of the layer's, or a slice of them.
template <class T>
struct AdapterTerm {
  MatrixView<const T> a, b;  // (R, I), (S, R)
  VectorView<const T> gain;  // (S,), DoRA's magnitude over norm; no data: 1
  bool gain_on_base;  // whether it also adds (gain - 1) ∘ u, u = x Wᵀ: one term of an adapter does
  std::int32_t id;     // its adapter's, which may have several terms
  std::int64_t first;  // its columns of h: [first, first + R)
  double scale;
  std::int64_t first_output;  // the outputs that it reaches: [first_output, first_output + S)
};

/// In host memory, for a device library too; what the terms point to is on the device.
template <class T>
struct AdapterTerms {
  const AdapterTerm<T>* data;
  std::int64_t count;

  const AdapterTerm<T>* begin() const { return data; }
  const AdapterTerm<T>* end() const { return data + count; }
};

/// Everything a device library offers, float32 only. Append-only: `size` tells what is there.
/// Matrices and vectors whose data is null are absent: a bias, a gradient nobody needs.
struct Backend {
  using Matrix = MatrixView<float>;
  using ConstMatrix = MatrixView<const float>;
  using Vector = VectorView<float>;
  using ConstVector = VectorView<const float>;
  using Labels = VectorView<const std::int32_t>;
  using Ids = VectorView<const std::int32_t>;
  using Term = AdapterTerm<float>;
  using Terms = AdapterTerms<float>;
  using Stream = void*;
  using Graph = void*;
  using Event = void*;

  int abi;
  int size;

  /// Null when the device can be used, else one sentence that says why it cannot.
  const char* (*unavailable)() noexcept;
  /// "NVIDIA H100 80GB HBM3, 132 multiprocessors"
  const char* (*device_name)() noexcept;
  const char* (*error_text)(int code) noexcept;

  int (*allocate)(void** memory, std::size_t bytes, Stream);
  void (*release)(void* memory, Stream) noexcept;
  /// Host memory that the device can read and write.
  int (*allocate_pinned)(void** memory, std::size_t bytes);
  void (*release_pinned)(void* memory) noexcept;
  /// Enqueues the copy; one to or from the host has been made when the call returns.
  int (*copy)(void* to, const void* from, std::size_t bytes, CopyKind, Stream);

  int (*create_stream)(Stream* stream);
  void (*destroy_stream)(Stream) noexcept;
  int (*synchronize)(Stream);
  /// Between the two, what is enqueued in the stream is recorded, not run.
  int (*begin_capture)(Stream);
  int (*end_capture)(Stream, Graph* graph);
  int (*launch_graph)(Graph, Stream);
  void (*destroy_graph)(Graph) noexcept;

  int (*fill)(Vector y, double value, Stream);
  int (*scale)(Vector y, double factor, Stream);
  int (*add_scaled)(ConstVector x, Vector y, double factor, Stream);
  int (*relu)(ConstVector x, Vector y, Stream);
  int (*relu_backward)(ConstVector y, ConstVector dy, Vector dx, Stream);
  int (*argmax)(ConstMatrix x, VectorView<std::int32_t> indices, Stream);
  int (*count_errors)(Labels predictions, Labels labels, VectorView<std::int64_t> wrong, Stream);
  int (*normalize_rows)(MatrixView<const std::uint8_t> x, VectorView<const std::int64_t> rows,
                        Matrix y, double mean, double std, Stream);
  int (*next_batch)(MatrixView<const std::uint8_t> images, Labels labels,
                    VectorView<const std::int64_t> order, std::int64_t* step, Matrix y,
                    VectorView<std::int32_t> batch_labels, double mean, double std, Stream);

  int (*linear)(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y, Activation, Stream);
  int (*linear_backward_input)(ConstMatrix dy, ConstMatrix w, ConstMatrix relu_output, Matrix dx,
                               Stream);
  int (*linear_backward_weight)(ConstMatrix dy, ConstMatrix x, Matrix dw, bool accumulate, Stream);
  int (*linear_backward_bias)(ConstMatrix dy, Vector db, bool accumulate, Stream);

  int (*lora_linear)(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix a, ConstMatrix b,
                     Matrix h, Matrix y, double scale, Activation, Stream);
  int (*lora_linear_backward_input)(ConstMatrix dy, ConstMatrix w, ConstMatrix a, ConstMatrix b,
                                    ConstMatrix relu_output, Matrix dh, Matrix dx, double scale,
                                    Stream);
  int (*lora_merge)(ConstMatrix a, ConstMatrix b, Matrix w, double scale, Stream);

  int (*softmax_cross_entropy)(ConstMatrix logits, Labels labels, Matrix dlogits, LossSlots,
                               Stream);

  int (*adam)(ConstVector gradient, AdamVector<float>, AdamSchedule, Stream);
  int (*adam_factored)(ConstMatrix dy, ConstMatrix x, AdamMatrix<float>, AdamSchedule, Stream);
  int (*sgd)(ConstVector gradient, Vector value, double lr, double weight_decay, Stream);
  int (*sgd_factored)(ConstMatrix dy, ConstMatrix x, Matrix value, double lr, double weight_decay,
                      Stream);

  int (*linear_backward_adam)(ConstMatrix dy, ConstMatrix x, AdamMatrix<float> weight,
                              AdamVector<float> bias, ConstMatrix relu_output, Matrix dx,
                              AdamSchedule, Stream);
  int (*linear_backward_sgd)(ConstMatrix dy, ConstMatrix x, Matrix weight, ConstMatrix relu_output,
                             Matrix dx, double lr, double weight_decay, Stream);
  int (*lora_linear_backward_adam)(ConstMatrix dy, ConstMatrix x, ConstMatrix w, ConstMatrix h,
                                   AdamMatrix<float> a, AdamMatrix<float> b,
                                   ConstMatrix relu_output, Matrix dh, Matrix dx, double scale,
                                   AdamSchedule of_a, AdamSchedule of_b, Stream);

  int (*create_event)(Event* event, bool timing);
  void (*destroy_event)(Event) noexcept;
  /// The event's place is behind what the stream holds now.
  int (*record_event)(Event, Stream);
  int (*query_event)(Event, bool* reached);
  int (*synchronize_event)(Event);
  /// What is enqueued in the stream from now on runs behind the event's place.
  int (*wait_event)(Stream, Event);
  int (*elapsed_time)(Event start, Event end, float* milliseconds);
  /// Enqueues the copy from memory of allocate_pinned, which must stay as it is until it has run.
  int (*copy_from_pinned)(void* to, const void* from, std::size_t bytes, Stream);

  int (*dora_linear)(ConstMatrix x, ConstMatrix a, ConstMatrix w, Matrix u, Matrix wa,
                     Vector squares, Stream);
  int (*dora_gains)(ConstMatrix wa, ConstVector squares, ConstMatrix a, ConstMatrix b,
                    ConstMatrix w, ConstVector magnitude, Vector norms, Vector gains, double scale,
                    Stream);
  int (*dora_backward_magnitude)(ConstVector dgain, ConstVector norms, Vector dm, bool accumulate,
                                 Stream);
  int (*dora_scale_rows)(ConstVector gains, Matrix w, Stream);

  int (*dropout)(ConstVector x, Vector y, DropoutMask, Stream);
  int (*dropout_add)(ConstVector x, ConstVector relu_output, Vector y, DropoutMask, Stream);

  int (*multi_lora_shrink)(ConstMatrix x, Terms, Ids, Matrix h, Stream);
  int (*multi_lora_expand)(ConstMatrix u, ConstMatrix h, Terms, Ids, ConstVector bias, Matrix y,
                           Activation, Stream);
  int (*multi_lora_backward_output)(ConstMatrix dy, Terms, Ids, Matrix du, Stream);
  int (*multi_lora_backward_shrink)(ConstMatrix dy, Terms, Ids, Matrix dh, Stream);
  int (*multi_lora_backward_input)(ConstMatrix dh, Terms, Ids, ConstMatrix relu_output, Matrix dx,
                                   Stream);
  // From here on dy, u and y have the outputs alone that the adapter reaches.
  int (*multi_lora_backward_weights)(ConstMatrix dy, ConstMatrix x, ConstMatrix h, ConstMatrix dh,
                                     Term, Ids, Matrix da, Matrix db, bool accumulate, Stream);
  int (*multi_lora_backward_gain)(ConstMatrix dy, ConstMatrix u, ConstMatrix h, Terms, Ids,
                                  std::int32_t id, Vector dgain, bool accumulate, Stream);
  int (*multi_lora_add_bias)(ConstVector bias, Ids, std::int32_t id, Matrix y, Stream);
  int (*multi_lora_backward_bias)(ConstMatrix dy, Ids, std::int32_t id, Vector db, bool accumulate,
                                  Stream);

  int (*embedding)(ConstVector indices, ConstMatrix weight, Matrix y, bool accumulate, Stream);
  int (*embedding_backward)(ConstMatrix dy, ConstVector indices, Matrix dw, bool accumulate,
                            Stream);
  int (*embedding_columns)(ConstVector indices, ConstMatrix a, Matrix h, double scale, Stream);
  int (*embedding_columns_backward)(ConstMatrix dh, ConstVector indices, Matrix da, double scale,
                                    bool accumulate, Stream);

  int (*copy_columns)(ConstMatrix x, Matrix y, Stream);

  int (*gelu)(ConstVector x, Vector y, GELUApproximation, Stream);
  int (*gelu_backward)(ConstVector x, ConstVector dy, Vector dx, GELUApproximation, Stream);
  int (*silu)(ConstVector x, Vector y, Stream);
  int (*silu_backward)(ConstVector x, ConstVector dy, Vector dx, Stream);

  int (*layer_norm)(ConstMatrix x, ConstVector weight, ConstVector bias, Matrix y, Vector mean,
                    Vector inv_std, double eps, Stream);
  int (*layer_norm_backward)(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector mean,
                             ConstVector inv_std, Matrix dx, Vector dweight, Vector dbias,
                             bool accumulate_weight, bool accumulate_bias, Stream);
  int (*rms_norm)(ConstMatrix x, ConstVector weight, Matrix y, Vector inv_rms, double eps, Stream);
  int (*rms_norm_backward)(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector inv_rms,
                           Matrix dx, Vector dweight, bool accumulate, Stream);

  int (*conv2d)(ConstVector x, ConstVector w, ConstVector bias, Vector y, Conv2dSizes,
                bool accumulate, Stream);
  int (*conv2d_backward_input)(ConstVector dy, ConstVector w, Vector dx, Conv2dSizes,
                               bool accumulate, Stream);
  int (*conv2d_backward_weight)(ConstVector dy, ConstVector x, Vector dw, Conv2dSizes,
                                bool accumulate, Stream);
  int (*conv2d_backward_bias)(ConstMatrix dy, Vector db, bool accumulate, Stream);

  int (*causal_attention)(ConstMatrix q, ConstMatrix k, ConstMatrix v, std::int64_t heads, Matrix y,
                          Matrix log_sum_exp, Stream);
  int (*causal_attention_backward)(ConstMatrix dy, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                                   ConstMatrix y, ConstMatrix log_sum_exp, std::int64_t heads,
                                   Matrix dq, Matrix dk, Matrix dv, Stream);

  /// To *result, on the device.
  int (*dot)(ConstVector x, ConstVector y, double* result, Stream);
  int (*squared_norm_factored)(ConstMatrix dy, ConstMatrix x, double* result, Stream);
};

/// Null until <lora/cuda.hpp> registers the kernel library. Of default visibility, so that two
/// shared objects compiled with -fvisibility=hidden still see one pointer.
LORA_SHARED inline const Backend* cuda_backend = nullptr;

/// The stream that this thread's ops go to; null is the device's default stream.
LORA_SHARED inline thread_local Backend::Stream current_stream = nullptr;

}  // namespace lora::inline v0::detail
