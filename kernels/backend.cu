// SPDX-License-Identifier: MIT
#include <lora/cuda.hpp>
#include <lora/detail/backend.hpp>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"

// The table that <lora/cuda.hpp> registers, and so the index of this folder: launchers.hpp says
// which file each function stands in.

namespace lora::inline v0::detail {

const Backend* cuda_backend_table(HeaderVersion) noexcept {
  static constexpr Backend kTable{
      .abi = 1,
      .size = sizeof(Backend),
      .unavailable = cuda::unavailable,
      .device_name = cuda::device_name,
      .error_text = cuda::error_text,
      .allocate = cuda::allocate,
      .release = cuda::release,
      .allocate_pinned = cuda::allocate_pinned,
      .release_pinned = cuda::release_pinned,
      .copy = cuda::copy,
      .create_stream = cuda::create_stream,
      .destroy_stream = cuda::destroy_stream,
      .synchronize = cuda::synchronize,
      .begin_capture = cuda::begin_capture,
      .end_capture = cuda::end_capture,
      .launch_graph = cuda::launch_graph,
      .destroy_graph = cuda::destroy_graph,
      .fill = cuda::fill,
      .scale = cuda::scale,
      .add_scaled = cuda::add_scaled,
      .relu = cuda::relu,
      .relu_backward = cuda::relu_backward,
      .argmax = cuda::argmax,
      .count_errors = cuda::count_errors,
      .normalize_rows = cuda::normalize_rows,
      .next_batch = cuda::next_batch,
      .linear = cuda::linear,
      .linear_backward_input = cuda::linear_backward_input,
      .linear_backward_weight = cuda::linear_backward_weight,
      .linear_backward_bias = cuda::linear_backward_bias,
      .lora_linear = cuda::lora_linear,
      .lora_linear_backward_input = cuda::lora_linear_backward_input,
      .lora_merge = cuda::lora_merge,
      .softmax_cross_entropy = cuda::softmax_cross_entropy,
      .adam = cuda::adam,
      .adam_factored = cuda::adam_factored,
      .sgd = cuda::sgd,
      .sgd_factored = cuda::sgd_factored,
      .linear_backward_adam = cuda::linear_backward_adam,
      .linear_backward_sgd = cuda::linear_backward_sgd,
      .lora_linear_backward_adam = cuda::lora_linear_backward_adam,
      .create_event = cuda::create_event,
      .destroy_event = cuda::destroy_event,
      .record_event = cuda::record_event,
      .query_event = cuda::query_event,
      .synchronize_event = cuda::synchronize_event,
      .wait_event = cuda::wait_event,
      .elapsed_time = cuda::elapsed_time,
      .copy_from_pinned = cuda::copy_from_pinned,
      .dora_linear = cuda::dora_linear,
      .dora_gains = cuda::dora_gains,
      .dora_backward_magnitude = cuda::dora_backward_magnitude,
      .dora_scale_rows = cuda::dora_scale_rows,
      .dropout = cuda::dropout,
      .dropout_add = cuda::dropout_add,
      .multi_lora_shrink = cuda::multi_lora_shrink,
      .multi_lora_expand = cuda::multi_lora_expand,
      .multi_lora_backward_output = cuda::multi_lora_backward_output,
      .multi_lora_backward_shrink = cuda::multi_lora_backward_shrink,
      .multi_lora_backward_input = cuda::multi_lora_backward_input,
      .multi_lora_backward_weights = cuda::multi_lora_backward_weights,
      .multi_lora_backward_gain = cuda::multi_lora_backward_gain,
      .multi_lora_add_bias = cuda::multi_lora_add_bias,
      .multi_lora_backward_bias = cuda::multi_lora_backward_bias,
      .embedding = cuda::embedding,
      .embedding_backward = cuda::embedding_backward,
      .embedding_columns = cuda::embedding_columns,
      .embedding_columns_backward = cuda::embedding_columns_backward,
      .copy_columns = cuda::copy_columns,
      .gelu = cuda::gelu,
      .gelu_backward = cuda::gelu_backward,
      .silu = cuda::silu,
      .silu_backward = cuda::silu_backward,
      .layer_norm = cuda::layer_norm,
      .layer_norm_backward = cuda::layer_norm_backward,
      .rms_norm = cuda::rms_norm,
      .rms_norm_backward = cuda::rms_norm_backward,
      .dot = cuda::dot,
      .squared_norm_factored = cuda::squared_norm_factored,
  };
  return &kTable;
}

}  // namespace lora::inline v0::detail
