// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/nn/conv2d.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_layer.hpp>
#include <lora/nn/module.hpp>
#include <lora/nn/pass_counter.hpp>
#include <lora/ops/conv2d.hpp>
#include <lora/ops/dropout.hpp>
#include <lora/ops/elementwise.hpp>

namespace lora::inline v0 {

/// y = conv(x, W) + b + Σ s conv₁(conv(x, A), B)
///
/// A Conv2d with low-rank adapters, of PEFT's shapes. A (R, C, KH, KW) has the base's stride,
/// padding and dilation, and one group; conv₁ by B (O, R/groups, 1, 1) has the base's groups. With
/// one group the two are the convolution by s B A, the kernels of A and W laid out in rows; with
/// several no W of the base's shape does the same, because A takes all channels, so merging is
/// refused, as in PEFT. Adapters active together in training must have one lora_dropout.
template <class T>
class LoRAConv2d final : public LoRALayer<T> {
 public:
  /// Without adapters: the base.
  explicit LoRAConv2d(std::shared_ptr<Conv2d<T>> base) : base_(std::move(base)) {
    this->train(base_->training());
  }

  const Conv2d<T>& base() const noexcept { return *base_; }
  std::shared_ptr<Module<T>> base_module() const override { return base_; }

  std::string to_string() const override {
    const std::string ranks = this->ranks();
    return "LoRA" + base_->to_string() + (ranks.empty() ? "" : " with ") + ranks;
  }

 private:
  // The tensors of Saved::intermediates, and behind them those of each active adapter.
  enum : std::size_t { kDropped, kDxDropped, kOfParts };
  enum : std::size_t { kH, kDh, kPerPart };

  static Tensor<T>& of_part(Saved<T>& saved, std::size_t part, std::size_t i) {
    return saved.intermediates[kOfParts + kPerPart * part + i];
  }

  detail::AdaptedWeight<T> adapted_weight() const override {
    if (base_->options().groups > 1 && !this->active().empty()) {
      throw ValueError(to_string() + ": an adapter of a convolution with groups cannot be merged");
    }
    return {base_->weight.value, base_->bias_value()};
  }

  void require_rows_can_differ() const override {
    throw ValueError(to_string() + ": rows of one batch cannot use different adapters here");
  }

  bool runs_base() const {
    return !this->enabled() || this->update_in_weight() || this->active().empty();
  }

  // Of A and of B.
  Conv2dOptions down() const {
    Conv2dOptions options = base_->options();
    options.groups = 1;
    return options;
  }
  Conv2dOptions up() const { return {.groups = base_->options().groups}; }

  double drop_rate() const {
    const double rate = this->active().front()->dropout;
    for (const LoRAAdapter<T>* adapter : this->active()) {
      if (adapter->dropout == rate) continue;
      throw ValueError(to_string() + ": adapters that run together in training must have one " +
                       "lora_dropout");
    }
    return this->training() ? rate : 0;
  }

  DropoutKey dropout_key(const Saved<T>& saved) const {
    return {this->active().front()->dropout_seed, 0, saved.random_offset};
  }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    Tensor<T>& y = saved.output;
    ops::conv2d(x, base_->weight.value, base_->bias_value(), y, base_->options());
    if (runs_base()) return y;
    saved.intermediates.resize(kOfParts + kPerPart * this->active().size());
    const Tensor<T>* input = &x;
    if (drop_rate() > 0) {
      passes_.count(saved);
      ops::dropout(x, saved.intermediates[kDropped], drop_rate(), dropout_key(saved));
      input = &saved.intermediates[kDropped];
    }
    for (std::size_t i = 0; i < this->active().size(); ++i) {
      const LoRAAdapter<T>& adapter = *this->active()[i];
      Tensor<T>& h = of_part(saved, i, kH);
      ops::conv2d<T>(*input, adapter.lora_A.value, nullptr, h, down());
      ops::scale(h, adapter.scaling());
      ops::conv2d<T>(h, adapter.lora_B.value, nullptr, y, up(), true);
    }
    return y;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    this->require_apart_from_weight();
    const Tensor<T>& x = *saved.input;
    base_->accumulate_gradients(dy, x);
    if (dx) {
      dx->resize(x.shape(), x.device());
      ops::conv2d_backward_input(dy, base_->weight.value, *dx, base_->options());
    }
    if (runs_base()) return;
    const bool drops = drop_rate() > 0;
    Tensor<T>* input_gradient = dx;
    if (dx && drops) {
      input_gradient = &saved.intermediates[kDxDropped];
      input_gradient->resize(x.shape(), x.device());
      ops::fill(*input_gradient, 0.0);
    }
    for (std::size_t i = 0; i < this->active().size(); ++i) {
      backward_through(*this->active()[i], drops ? saved.intermediates[kDropped] : x, dy,
                       of_part(saved, i, kH), of_part(saved, i, kDh), input_gradient);
    }
    if (dx && drops) ops::dropout_add(*input_gradient, *dx, drop_rate(), dropout_key(saved));
  }

  // Adds to the gradients of the adapter and to that of its input.
  void backward_through(LoRAAdapter<T>& adapter, const Tensor<T>& input, const Tensor<T>& dy,
                        const Tensor<T>& h, Tensor<T>& dh, Tensor<T>* input_gradient) const {
    const auto accumulate = [&](Parameter<T>& parameter, const Tensor<T>& of_output,
                                const Tensor<T>& of_input, const Conv2dOptions& options) {
      if (!parameter.trainable) return;
      parameter.grad.accumulate_with([&](Tensor<T>& dw, bool add) {
        if (!add) dw.resize(parameter.value.shape(), parameter.value.device());
        ops::conv2d_backward_weight(of_output, of_input, dw, options, add);
      });
    };
    accumulate(adapter.lora_B, dy, h, up());
    if (!adapter.lora_A.trainable && !input_gradient) return;
    dh.resize(h.shape(), h.device());
    ops::conv2d_backward_input(dy, adapter.lora_B.value, dh, up());
    ops::scale(dh, adapter.scaling());
    accumulate(adapter.lora_A, dh, input, down());
    if (input_gradient) {
      ops::conv2d_backward_input(dh, adapter.lora_A.value, *input_gradient, down(), true);
    }
  }

  std::shared_ptr<Conv2d<T>> base_;
  mutable detail::PassCounter passes_;  // so that each pass drops other inputs
};

template <class T>
std::shared_ptr<LoRALayer<T>> Conv2d<T>::make_adapted(std::shared_ptr<Module<T>> self) const {
  return std::make_shared<LoRAConv2d<T>>(std::static_pointer_cast<Conv2d<T>>(self));
}

/// A as that of a Linear with C KH KW inputs, and B zero, as PEFT's.
template <class T>
std::unique_ptr<LoRAAdapter<T>> Conv2d<T>::make_adapter(const LoRAConfig& config,
                                                        Generator& generator,
                                                        const std::string& name) const {
  detail::require_low_rank_alone(this->to_string(), config);
  const Shape& kernel = weight.value.shape();
  const index_t groups = options().groups, r = config.r;
  const index_t fan_in = kernel[1] * groups * kernel[2] * kernel[3];
  if (r < 1 || r > fan_in || r > kernel[0]) {
    detail::throw_no_rank(r, this->to_string(), std::min(fan_in, kernel[0]));
  }
  if (r % groups != 0) {
    throw ValueError("LoRAConfig: r is " + std::to_string(r) + " for " + this->to_string() +
                     ": expected a multiple of its " + std::to_string(groups) + " groups");
  }
  Tensor<T> a({r, kernel[1] * groups, kernel[2], kernel[3]});
  detail::draw_lora_A(config, fan_in, a, generator);
  auto adapter = detail::make_adapter_of(config, name, a, Tensor<T>({kernel[0], r / groups, 1, 1}),
                                         weight.value.device());
  if (config.lora_dropout > 0) detail::set_dropout(*adapter, config, generator);
  return adapter;
}

}  // namespace lora::inline v0
