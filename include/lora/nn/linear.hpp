// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/linear.hpp>
#include <lora/random.hpp>

namespace lora::inline v0 {

/// A named part of a layer's outputs, such as the queries of a fused projection.
struct OutputSlice {
  std::string name;
  index_t first, size;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_no_features(index_t in, index_t out) {
  throw ValueError("Linear: in_features is " + std::to_string(in) + ", out_features is " +
                   std::to_string(out) + ", both must be at least 1");
}

LORA_NEVER_INLINE inline std::vector<OutputSlice> split_evenly(const std::string& layer,
                                                               index_t outputs,
                                                               std::vector<std::string> names) {
  const auto count = static_cast<index_t>(names.size());
  std::string fault;
  if (count == 0 || outputs % count != 0) {
    fault =
        std::to_string(outputs) + " outputs do not make " + std::to_string(count) + " equal parts";
  }
  std::vector<OutputSlice> slices;
  for (std::string& name : names) {
    bool is_name = !name.empty() && name.find('.') == std::string::npos;
    for (const OutputSlice& slice : slices) is_name = is_name && slice.name != name;
    if (!is_name && fault.empty()) {
      fault = "\"" + name + "\" is no slice's name: it must be non-empty, hold no dot and differ " +
              "from the others";
    }
    slices.push_back({std::move(name), static_cast<index_t>(slices.size()) * (outputs / count),
                      outputs / count});
  }
  if (!fault.empty()) throw ValueError("split_outputs: " + layer + ": " + fault);
  return slices;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// y = x Wᵀ + b                       x: (B, I), W: (O, I), b: (O,), y: (B, O)
template <class T>
class Linear final : public Module<T> {
 public:
  /// W and b start uniform in ±1/√I, as those of torch.nn.Linear; with a TorchGenerator they are
  /// the same numbers. Throws ValueError on a size below 1.
  Linear(index_t in_features, index_t out_features, Generator& generator, bool bias = true)
      : has_bias_(bias) {
    if (in_features < 1 || out_features < 1) detail::throw_no_features(in_features, out_features);
    weight.value = Tensor<T>({out_features, in_features});
    const double fan_in = static_cast<double>(in_features);
    // PyTorch arrives at 1/√I for the weight by way of kaiming_uniform_(a = √5), and rounds on the
    // way; taking the same way keeps the bits.
    const double weight_bound = std::sqrt(3.0) * (std::sqrt(2.0 / (1.0 + 5.0)) / std::sqrt(fan_in));
    generator.uniform(weight.value.span(), -weight_bound, weight_bound);
    if (!bias) return;
    this->bias.value = Tensor<T>({out_features});
    const double bias_bound = 1.0 / std::sqrt(fan_in);
    generator.uniform(this->bias.value.span(), -bias_bound, bias_bound);
  }

  index_t in_features() const noexcept { return weight.value.dim(1); }
  index_t out_features() const noexcept { return weight.value.dim(0); }
  bool has_bias() const noexcept { return has_bias_; }

  /// Names equal parts of the outputs, in order: {"q", "k", "v"} for one weight of three. Adapters
  /// can then be had for some of them alone. The layer computes what it did. Throws ValueError when
  /// the parts would not be equal, or a name is empty, repeated or holds a dot.
  Linear& split_outputs(std::vector<std::string> names) {
    slices_ = detail::split_evenly(to_string(), out_features(), std::move(names));
    return *this;
  }

  /// Empty unless split_outputs() has named some.
  const std::vector<OutputSlice>& output_slices() const noexcept { return slices_; }

  std::string to_string() const override {
    return "Linear(" + std::to_string(in_features()) + ", " + std::to_string(out_features()) +
           (has_bias_ ? ")" : ", bias=false)");
  }

  bool fuses_relu() const override { return true; }

  std::shared_ptr<Module<T>> clone() const override { return std::make_shared<Linear>(*this); }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    visit("weight", weight);
    if (has_bias_) visit("bias", bias);
  }

  /// Null when the layer has no bias.
  Parameter<T>* bias_or_null() noexcept { return has_bias_ ? &bias : nullptr; }
  const Tensor<T>* bias_value() const noexcept { return has_bias_ ? &bias.value : nullptr; }

  Parameter<T> weight;  ///< (O, I)
  Parameter<T> bias;    ///< (O,), or empty

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ops::linear(x, weight.value, bias_value(), saved.output, saved.activation);
    return saved.output;
  }

  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    const Tensor<T>& x = *saved.input;
    LinearBackward<T>& pass =
        weight.can_update_in_backward() ? *weight.update_in_backward : *saved.accumulation;
    pass.linear_backward(weight, bias_or_null(), dy, x, dx, saved.input_is_relu ? &x : nullptr);
  }

  bool has_bias_;
  std::vector<OutputSlice> slices_;
};

}  // namespace lora::inline v0
