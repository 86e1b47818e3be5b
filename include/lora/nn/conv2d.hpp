// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <memory>
#include <string>

#include <lora/error.hpp>
#include <lora/nn/adaptable.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/conv2d.hpp>
#include <lora/random.hpp>

namespace lora::inline v0::detail {

/// Throws ValueError where there can be no such layer.
LORA_NEVER_INLINE inline void require_conv_layer(index_t in, index_t out,
                                                 const HeightWidth& kernel_size,
                                                 const Conv2dOptions& o) {
  require_conv_options("Conv2d", o);
  if (kernel_size.h < 1 || kernel_size.w < 1) {
    throw_conv_option("Conv2d", "kernel_size", kernel_size, "1");
  }
  if (in < 1 || out < 1 || in % o.groups != 0 || out % o.groups != 0) {
    throw ValueError("Conv2d: in_channels is " + std::to_string(in) + ", out_channels is " +
                     std::to_string(out) + ", groups is " + std::to_string(o.groups) +
                     ": the channels must be at least 1 and divisible by groups");
  }
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// The convolution of ops/conv2d.hpp       x: (N, C, H, W), W: (O, C/groups, KH, KW), b: (O,),
///                                         y: (N, O, H', W')
template <class T>
class Conv2d final : public Adaptable<T> {
 public:
  /// W and b start uniform in ±1/√(C/groups · KH · KW), as those of torch.nn.Conv2d; with a
  /// TorchGenerator they are the same numbers. Throws ValueError on a size or an option out of
  /// range, and where groups does not divide the channels.
  Conv2d(index_t in_channels, index_t out_channels, HeightWidth kernel_size, Generator& generator,
         const Conv2dOptions& options = {}, bool bias = true)
      : options_(options), has_bias_(bias) {
    detail::require_conv_layer(in_channels, out_channels, kernel_size, options);
    const index_t group = in_channels / options.groups;
    weight.value = Tensor<T>({out_channels, group, kernel_size.h, kernel_size.w});
    const double fan_in = static_cast<double>(group * kernel_size.h * kernel_size.w);
    // By way of kaiming_uniform_(a = √5), with PyTorch's roundings, as in Linear.
    const double weight_bound = std::sqrt(3.0) * (std::sqrt(2.0 / (1.0 + 5.0)) / std::sqrt(fan_in));
    generator.uniform(weight.value.span(), -weight_bound, weight_bound);
    if (!bias) return;
    this->bias.value = Tensor<T>({out_channels});
    const double bias_bound = 1.0 / std::sqrt(fan_in);
    generator.uniform(this->bias.value.span(), -bias_bound, bias_bound);
  }

  index_t in_channels() const noexcept { return weight.value.dim(1) * options_.groups; }
  index_t out_channels() const noexcept { return weight.value.dim(0); }
  HeightWidth kernel_size() const noexcept { return {weight.value.dim(2), weight.value.dim(3)}; }
  const Conv2dOptions& options() const noexcept { return options_; }
  bool has_bias() const noexcept { return has_bias_; }

  std::string to_string() const override {
    const Conv2dOptions& o = options_;
    std::string text =
        "Conv2d(" + std::to_string(in_channels()) + ", " + std::to_string(out_channels()) +
        ", kernel_size=" + kernel_size().to_string() + ", stride=" + o.stride.to_string();
    if (o.padding != 0) text += ", padding=" + o.padding.to_string();
    if (o.dilation != 1) text += ", dilation=" + o.dilation.to_string();
    if (o.groups != 1) text += ", groups=" + std::to_string(o.groups);
    return text + (has_bias_ ? ")" : ", bias=false)");
  }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Conv2d>(*this); }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
    if (has_bias_) visit("bias", bias);
  }

  /// Null when the layer has no bias.
  const Tensor<T>* bias_value() const noexcept { return has_bias_ ? &bias.value : nullptr; }

  /// Adds to the gradients of weight and bias, as far as they are trainable.
  void accumulate_gradients(const Tensor<T>& dy, const Tensor<T>& x) {
    if (weight.trainable) {
      weight.grad.accumulate_with([&](Tensor<T>& dense, bool add) {
        if (!add) dense.resize(weight.value.shape(), weight.value.device());
        ops::conv2d_backward_weight(dy, x, dense, options_, add);
      });
    }
    if (has_bias_ && bias.trainable) {
      bias.grad.accumulate_with(
          [&](Tensor<T>& dense, bool add) { ops::conv2d_backward_bias(dy, dense, add); });
    }
  }

  std::shared_ptr<LoRALayer<T>> make_adapted(std::shared_ptr<Module<T>> self) const override;
  std::unique_ptr<LoRAAdapter<T>> make_adapter(const LoRAConfig& config, Generator& generator,
                                               const std::string& name) const override;

  Parameter<T> weight;  ///< (O, C/groups, KH, KW)
  Parameter<T> bias;    ///< (O,), or empty

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::conv2d(x, weight.value, bias_value(), saved.output, options_);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    const Tensor<T>& x = *saved.input;
    if (dx) {
      dx->resize(x.shape(), x.device());
      ops::conv2d_backward_input(dy, weight.value, *dx, options_);
    }
    accumulate_gradients(dy, x);
  }

  Conv2dOptions options_;
  bool has_bias_;
};

}  // namespace lora::inline v0

#include <lora/nn/lora_conv2d.hpp>
