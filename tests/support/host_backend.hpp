// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>

#include <lora/lora.hpp>
#include <lora/ops/conv2d.hpp>
#include <lora/ops/copy_columns.hpp>
#include <lora/ops/embedding.hpp>
#include <lora/ops/gelu.hpp>
#include <lora/ops/layer_norm.hpp>
#include <lora/ops/rms_norm.hpp>
#include <lora/ops/silu.hpp>

namespace lora_test {

namespace host_detail {

/// A slot of the table that calls a CPU function with the same arguments but the stream.
template <class Slot>
struct OnHost;

template <class... Args>
struct OnHost<int (*)(Args...)> {
  template <auto Function>
  static int call(Args... args) {
    const auto all = std::make_tuple(args...);
    [&]<std::size_t... I>(std::index_sequence<I...>) { Function(std::get<I>(all)...); }
    (std::make_index_sequence<sizeof...(Args) - 1>{});
    return 0;
  }
};

}  // namespace host_detail

/// While it lives, Device::cuda is a device whose kernels are the CPU functions behind the very
/// table that a kernel library fills. Its memory is the host's, and what is out is counted.
class HostBackend {
 public:
  HostBackend() {
    using lora::detail::Backend;
    table_.abi = 1;
    table_.size = sizeof(Backend);
    table_.unavailable = []() noexcept -> const char* { return reason(); };
    table_.error_text = [](int) noexcept { return "the launch failed"; };
    table_.allocate = [](void** memory, std::size_t bytes, void*) {
      *memory = std::malloc(bytes);
      ++blocks();
      return *memory ? 0 : 2;
    };
    table_.release = [](void* memory, void*) noexcept {
      --blocks();
      std::free(memory);
    };
    table_.copy = [](void* to, const void* from, std::size_t bytes, lora::detail::CopyKind, void*) {
      std::memcpy(to, from, bytes);
      return 0;
    };
    table_.allocate_pinned = [](void** memory, std::size_t bytes) {
      *memory = std::malloc(bytes);
      return *memory ? 0 : 2;
    };
    table_.release_pinned = [](void* memory) noexcept { std::free(memory); };
    table_.create_stream = [](void** stream) {
      *stream = new char;
      ++streams();
      return 0;
    };
    table_.destroy_stream = [](void* stream) noexcept {
      --streams();
      delete static_cast<char*>(stream);
    };
    table_.synchronize = [](void*) { return 0; };
    table_.create_event = [](void** event, bool) {
      *event = new char;
      ++events();
      return 0;
    };
    table_.destroy_event = [](void* event) noexcept {
      --events();
      delete static_cast<char*>(event);
    };
    table_.record_event = [](void*, void*) { return 0; };
    table_.query_event = [](void*, bool* reached) {
      *reached = true;
      return 0;
    };
    table_.synchronize_event = [](void*) { return 0; };
    table_.wait_event = [](void*, void*) { return 0; };
    table_.elapsed_time = [](void*, void*, float* milliseconds) {
      *milliseconds = 1.5f;
      return 0;
    };
    table_.copy_from_pinned = [](void* to, const void* from, std::size_t bytes, void*) {
      std::memcpy(to, from, bytes);
      return 0;
    };
    // Its kernels are calls, which cannot be recorded.
    table_.begin_capture = [](void*) { return 801; };
    set<&lora::cpu::fill<float>>(table_.fill);
    set<&lora::cpu::scale<float>>(table_.scale);
    set<&lora::cpu::add_scaled<float>>(table_.add_scaled);
    set<&lora::cpu::relu<float>>(table_.relu);
    set<&lora::cpu::relu_backward<float>>(table_.relu_backward);
    set<&lora::cpu::argmax<float>>(table_.argmax);
    set<&lora::cpu::count_errors>(table_.count_errors);
    set<&lora::cpu::normalize_rows<float>>(table_.normalize_rows);
    set<&lora::cpu::next_batch<float>>(table_.next_batch);
    set<&lora::cpu::linear<float>>(table_.linear);
    set<&lora::cpu::linear_backward_input<float>>(table_.linear_backward_input);
    set<&lora::cpu::linear_backward_weight<float>>(table_.linear_backward_weight);
    set<&lora::cpu::linear_backward_bias<float>>(table_.linear_backward_bias);
    set<&lora::cpu::lora_linear<float>>(table_.lora_linear);
    set<&lora::cpu::lora_linear_backward_input<float>>(table_.lora_linear_backward_input);
    set<&lora::cpu::lora_merge<float>>(table_.lora_merge);
    set<&lora::cpu::softmax_cross_entropy<float>>(table_.softmax_cross_entropy);
    set<&lora::cpu::adam<float>>(table_.adam);
    set<&lora::cpu::adam_factored<float>>(table_.adam_factored);
    set<&lora::cpu::sgd<float>>(table_.sgd);
    set<&lora::cpu::sgd_factored<float>>(table_.sgd_factored);
    set<&lora::cpu::linear_backward_adam<float>>(table_.linear_backward_adam);
    set<&lora::cpu::linear_backward_sgd<float>>(table_.linear_backward_sgd);
    set<&lora::cpu::lora_linear_backward_adam<float>>(table_.lora_linear_backward_adam);
    set<&lora::cpu::dora_linear<float>>(table_.dora_linear);
    set<&lora::cpu::dora_gains<float>>(table_.dora_gains);
    set<&lora::cpu::dora_backward_magnitude<float>>(table_.dora_backward_magnitude);
    set<&lora::cpu::dora_scale_rows<float>>(table_.dora_scale_rows);
    set<&lora::cpu::dropout<float>>(table_.dropout);
    set<&lora::cpu::dropout_add<float>>(table_.dropout_add);
    set<&lora::cpu::multi_lora_shrink<float>>(table_.multi_lora_shrink);
    set<&lora::cpu::multi_lora_expand<float>>(table_.multi_lora_expand);
    set<&lora::cpu::multi_lora_backward_output<float>>(table_.multi_lora_backward_output);
    set<&lora::cpu::multi_lora_backward_shrink<float>>(table_.multi_lora_backward_shrink);
    set<&lora::cpu::multi_lora_backward_input<float>>(table_.multi_lora_backward_input);
    set<&lora::cpu::multi_lora_backward_weights<float>>(table_.multi_lora_backward_weights);
    set<&lora::cpu::multi_lora_backward_gain<float>>(table_.multi_lora_backward_gain);
    set<&lora::cpu::multi_lora_add_bias<float>>(table_.multi_lora_add_bias);
    set<&lora::cpu::multi_lora_backward_bias<float>>(table_.multi_lora_backward_bias);
    set<&lora::cpu::embedding<float>>(table_.embedding);
    set<&lora::cpu::embedding_backward<float>>(table_.embedding_backward);
    set<&lora::cpu::embedding_columns<float>>(table_.embedding_columns);
    set<&lora::cpu::embedding_columns_backward<float>>(table_.embedding_columns_backward);
    set<&lora::cpu::copy_columns<float>>(table_.copy_columns);
    set<&lora::cpu::gelu<float>>(table_.gelu);
    set<&lora::cpu::gelu_backward<float>>(table_.gelu_backward);
    set<&lora::cpu::silu<float>>(table_.silu);
    set<&lora::cpu::silu_backward<float>>(table_.silu_backward);
    set<&lora::cpu::layer_norm<float>>(table_.layer_norm);
    set<&lora::cpu::layer_norm_backward<float>>(table_.layer_norm_backward);
    set<&lora::cpu::rms_norm<float>>(table_.rms_norm);
    set<&lora::cpu::rms_norm_backward<float>>(table_.rms_norm_backward);
    set<&lora::cpu::conv2d<float>>(table_.conv2d);
    set<&lora::cpu::conv2d_backward_input<float>>(table_.conv2d_backward_input);
    set<&lora::cpu::conv2d_backward_weight<float>>(table_.conv2d_backward_weight);
    set<&lora::cpu::conv2d_backward_bias<float>>(table_.conv2d_backward_bias);
    set<&lora::cpu::dot<float>>(table_.dot);
    set<&lora::cpu::squared_norm_factored<float>>(table_.squared_norm_factored);
    lora::detail::cuda_backend = &table_;
  }
  HostBackend(const HostBackend&) = delete;
  HostBackend& operator=(const HostBackend&) = delete;
  ~HostBackend() {
    lora::detail::cuda_backend = nullptr;
    reason() = nullptr;
  }

  /// What the device gives as the reason why it cannot be used; null: it can be.
  static const char*& reason() {
    static const char* text = nullptr;
    return text;
  }

  /// How many blocks of its memory are in use.
  static int& blocks() {
    static int count = 0;
    return count;
  }

  /// How many streams are there.
  static int& streams() {
    static int count = 0;
    return count;
  }

  /// How many events are there.
  static int& events() {
    static int count = 0;
    return count;
  }

  lora::detail::Backend& table() { return table_; }

 private:
  template <auto Function, class Slot>
  static void set(Slot& slot) {
    slot = &host_detail::OnHost<Slot>::template call<Function>;
  }

  lora::detail::Backend table_{};
};

}  // namespace lora_test
