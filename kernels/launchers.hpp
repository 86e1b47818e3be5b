// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <lora/activation.hpp>
#include <lora/detail/backend.hpp>
#include <lora/view.hpp>

// Every function behind the table that launches kernels, grouped by the file that defines it. Each
// has the name and the arguments of its slot (lora/detail/backend.hpp) and of its op (lora/ops/,
// where the formula and the shapes stand), enqueues its work in `stream` and returns 0 or a code of
// CUDA's. Views have been checked by the op; any of them may be empty.

namespace lora::inline v0::cuda {

using detail::AdamMatrix;
using detail::AdamSchedule;
using detail::AdamVector;
using detail::DropoutMask;
using detail::LossSlots;

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;
using Vector = VectorView<float>;
using ConstVector = VectorView<const float>;
using Labels = VectorView<const std::int32_t>;
using Ids = VectorView<const std::int32_t>;
using Term = detail::AdapterTerm<float>;
using Terms = detail::AdapterTerms<float>;

// elementwise.cu
int fill(Vector y, double value, void* stream);
int scale(Vector y, double factor, void* stream);
int add_scaled(ConstVector x, Vector y, double factor, void* stream);

// relu.cu
int relu(ConstVector x, Vector y, void* stream);
int relu_backward(ConstVector y, ConstVector dy, Vector dx, void* stream);

// argmax.cu
int argmax(ConstMatrix x, VectorView<std::int32_t> indices, void* stream);

// count_errors.cu
int count_errors(Labels predictions, Labels labels, VectorView<std::int64_t> wrong, void* stream);

// normalize_rows.cu
int normalize_rows(MatrixView<const std::uint8_t> x, VectorView<const std::int64_t> rows, Matrix y,
                   double mean, double std, void* stream);

// next_batch.cu
int next_batch(MatrixView<const std::uint8_t> images, Labels labels,
               VectorView<const std::int64_t> order, std::int64_t* step, Matrix y,
               VectorView<std::int32_t> batch_labels, double mean, double std, void* stream);

// linear.cu
int linear(ConstMatrix x, ConstMatrix w, ConstVector bias, Matrix y, Activation activation,
           void* stream);
int linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix relu_output, Matrix dx,
                          void* stream);
int linear_backward_weight(ConstMatrix dy, ConstMatrix x, Matrix dw, bool accumulate, void* stream);

// linear_backward_bias.cu
int linear_backward_bias(ConstMatrix dy, Vector db, bool accumulate, void* stream);

// lora_linear.cu
int lora_linear(ConstMatrix x, ConstMatrix w, ConstVector bias, ConstMatrix a, ConstMatrix b,
                Matrix h, Matrix y, double scale, Activation activation, void* stream);
int lora_linear_backward_input(ConstMatrix dy, ConstMatrix w, ConstMatrix a, ConstMatrix b,
                               ConstMatrix relu_output, Matrix dh, Matrix dx, double scale,
                               void* stream);

// lora_merge.cu
int lora_merge(ConstMatrix a, ConstMatrix b, Matrix w, double scale, void* stream);

// multi_lora.cu
int multi_lora_shrink(ConstMatrix x, Terms terms, Ids ids, Matrix h, void* stream);
int multi_lora_expand(ConstMatrix u, ConstMatrix h, Terms terms, Ids ids, ConstVector bias,
                      Matrix y, Activation activation, void* stream);
int multi_lora_backward_output(ConstMatrix dy, Terms terms, Ids ids, Matrix du, void* stream);
int multi_lora_backward_shrink(ConstMatrix dy, Terms terms, Ids ids, Matrix dh, void* stream);
int multi_lora_backward_input(ConstMatrix dh, Terms terms, Ids ids, ConstMatrix relu_output,
                              Matrix dx, void* stream);
int multi_lora_backward_weights(ConstMatrix dy, ConstMatrix x, ConstMatrix h, ConstMatrix dh,
                                Term term, Ids ids, Matrix da, Matrix db, bool accumulate,
                                void* stream);
int multi_lora_backward_gain(ConstMatrix dy, ConstMatrix u, ConstMatrix h, Terms terms, Ids ids,
                             std::int32_t id, Vector dgain, bool accumulate, void* stream);
int multi_lora_add_bias(ConstVector bias, Ids ids, std::int32_t id, Matrix y, void* stream);
int multi_lora_backward_bias(ConstMatrix dy, Ids ids, std::int32_t id, Vector db, bool accumulate,
                             void* stream);

// softmax_cross_entropy.cu
int softmax_cross_entropy(ConstMatrix logits, Labels labels, Matrix dlogits, LossSlots loss,
                          void* stream);

// adam.cu
int adam(ConstVector gradient, AdamVector<float> p, AdamSchedule schedule, void* stream);

// sgd.cu
int sgd(ConstVector gradient, Vector value, double lr, double weight_decay, void* stream);

// linear_update.cu
int adam_factored(ConstMatrix dy, ConstMatrix x, AdamMatrix<float> p, AdamSchedule schedule,
                  void* stream);
int sgd_factored(ConstMatrix dy, ConstMatrix x, Matrix value, double lr, double weight_decay,
                 void* stream);
int linear_backward_adam(ConstMatrix dy, ConstMatrix x, AdamMatrix<float> weight,
                         AdamVector<float> bias, ConstMatrix relu_output, Matrix dx,
                         AdamSchedule schedule, void* stream);
int linear_backward_sgd(ConstMatrix dy, ConstMatrix x, Matrix weight, ConstMatrix relu_output,
                        Matrix dx, double lr, double weight_decay, void* stream);

// lora_linear_update.cu
int lora_linear_backward_adam(ConstMatrix dy, ConstMatrix x, ConstMatrix w, ConstMatrix h,
                              AdamMatrix<float> a, AdamMatrix<float> b, ConstMatrix relu_output,
                              Matrix dh, Matrix dx, double scale, AdamSchedule of_a,
                              AdamSchedule of_b, void* stream);

// dora.cu
int dora_linear(ConstMatrix x, ConstMatrix a, ConstMatrix w, Matrix u, Matrix wa, Vector squares,
                void* stream);
int dora_gains(ConstMatrix wa, ConstVector squares, ConstMatrix a, ConstMatrix b, ConstMatrix w,
               ConstVector magnitude, Vector norms, Vector gains, double scale, void* stream);
int dora_backward_magnitude(ConstVector dgain, ConstVector norms, Vector dm, bool accumulate,
                            void* stream);
int dora_scale_rows(ConstVector gains, Matrix w, void* stream);

// dropout.cu
int dropout(ConstVector x, Vector y, DropoutMask mask, void* stream);
int dropout_add(ConstVector x, ConstVector relu_output, Vector y, DropoutMask mask, void* stream);

// embedding.cu
int embedding(ConstVector indices, ConstMatrix weight, Matrix y, bool accumulate, void* stream);
int embedding_backward(ConstMatrix dy, ConstVector indices, Matrix dw, bool accumulate,
                       void* stream);
int embedding_columns(ConstVector indices, ConstMatrix a, Matrix h, double scale, void* stream);
int embedding_columns_backward(ConstMatrix dh, ConstVector indices, Matrix da, double scale,
                               bool accumulate, void* stream);

// copy_columns.cu
int copy_columns(ConstMatrix x, Matrix y, void* stream);

// gelu.cu
int gelu(ConstVector x, Vector y, GELUApproximation approximation, void* stream);
int gelu_backward(ConstVector x, ConstVector dy, Vector dx, GELUApproximation approximation,
                  void* stream);

// silu.cu
int silu(ConstVector x, Vector y, void* stream);
int silu_backward(ConstVector x, ConstVector dy, Vector dx, void* stream);

// norm.cu
int layer_norm(ConstMatrix x, ConstVector weight, ConstVector bias, Matrix y, Vector mean,
               Vector inv_std, double eps, void* stream);
int layer_norm_backward(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector mean,
                        ConstVector inv_std, Matrix dx, Vector dweight, Vector dbias,
                        bool accumulate_weight, bool accumulate_bias, void* stream);
int rms_norm(ConstMatrix x, ConstVector weight, Matrix y, Vector inv_rms, double eps, void* stream);
int rms_norm_backward(ConstMatrix dy, ConstMatrix x, ConstVector weight, ConstVector inv_rms,
                      Matrix dx, Vector dweight, bool accumulate, void* stream);

// conv2d.cu
int conv2d(ConstVector x, ConstVector w, ConstVector bias, Vector y, detail::Conv2dSizes sizes,
           bool accumulate, void* stream);
int conv2d_backward_input(ConstVector dy, ConstVector w, Vector dx, detail::Conv2dSizes sizes,
                          bool accumulate, void* stream);
int conv2d_backward_weight(ConstVector dy, ConstVector x, Vector dw, detail::Conv2dSizes sizes,
                           bool accumulate, void* stream);
int conv2d_backward_bias(ConstMatrix dy, Vector db, bool accumulate, void* stream);

// causal_attention.cu
int causal_attention(ConstMatrix q, ConstMatrix k, ConstMatrix v, std::int64_t heads, Matrix y,
                     Matrix log_sum_exp, void* stream);
int causal_attention_backward(ConstMatrix dy, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                              ConstMatrix y, ConstMatrix log_sum_exp, std::int64_t heads, Matrix dq,
                              Matrix dk, Matrix dv, void* stream);

// dot.cu
int dot(ConstVector x, ConstVector y, double* result, void* stream);
int squared_norm_factored(ConstMatrix dy, ConstMatrix x, double* result, void* stream);

}  // namespace lora::inline v0::cuda
