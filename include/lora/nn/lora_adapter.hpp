// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/parameter.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// One named adapter of one layer: what it learns, and how it counts.
template <class T>
struct LoRAAdapter {
  std::string name;
  Parameter<T> lora_A;       ///< (R, I)
  Parameter<T> lora_B;       ///< (O, R)
  Parameter<T> lora_B_bias;  ///< (O,) with LoRAConfig::lora_bias, else empty
  Parameter<T> magnitude;    ///< (O,) with LoRAConfig::use_dora, else empty
  Parameter<T> bias;         ///< (O,) the layer's bias with this adapter, where it has its own

  /// What B A started from, where that was not zero: the layer adds scale (B A - B₀ A₀).
  Tensor<T> initial_A, initial_B;

  double lora_alpha = 0;
  double scale = 0;     ///< alpha/r, or alpha/√r with rsLoRA
  double strength = 1;  ///< a factor on the scale, set at run time
  bool active = false;  ///< whether the layer adds it; says nothing about what is trained
  double dropout = 0;
  std::uint64_t dropout_seed = 0;

  index_t rank() const noexcept { return lora_A.value.empty() ? 0 : lora_A.value.dim(0); }
  double scaling() const noexcept { return scale * strength; }
  bool uses_dora() const noexcept { return !magnitude.value.empty(); }
  bool has_initial_values() const noexcept { return !initial_A.empty(); }

  /// Whether it is A and B and nothing else; in eval(), when dropout does nothing.
  bool is_plain() const noexcept { return dropout == 0 && is_plain_in_eval(); }
  bool is_plain_in_eval() const noexcept {
    return rank() > 0 && !uses_dora() && !has_initial_values() && bias.value.empty() &&
           lora_B_bias.value.empty();
  }

  /// Calls visit(name, parameter) with PEFT's names within the layer, such as
  /// "lora_A.default.weight".
  template <class Visit>
  void for_each_parameter(const Visit& visit) {
    const auto show = [&](const char* before, const char* after, Parameter<T>& parameter) {
      if (!parameter.value.empty()) visit((before + name + after).c_str(), parameter);
    };
    show("lora_A.", ".weight", lora_A);
    show("lora_B.", ".weight", lora_B);
    show("lora_B.", ".bias", lora_B_bias);
    show("lora_magnitude_vector.", ".weight", magnitude);
    show("lora_bias.", ".bias", bias);
  }
};

namespace detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_no_rank(index_t rank, const std::string& layer,
                                                         index_t largest) {
  throw ValueError("LoRALinear: rank " + std::to_string(rank) + " for " + layer +
                   ": expected 1 to " + std::to_string(largest));
}

/// Throws ValueError on settings that no adapter can have.
inline void check_lora_config(const LoRAConfig& config) {
  if (!(config.lora_dropout >= 0 && config.lora_dropout < 1)) {
    throw ValueError("LoRAConfig: lora_dropout is " + std::to_string(config.lora_dropout) +
                     ", expected at least 0 and below 1");
  }
  if (!std::isfinite(config.lora_alpha)) {
    throw ValueError("LoRAConfig: lora_alpha is " + std::to_string(config.lora_alpha) +
                     ", expected a finite number");
  }
  if (config.lora_bias && config.use_dora) {
    throw ValueError("LoRAConfig: lora_bias and use_dora cannot be had together, as in PEFT");
  }
  if (config.use_dora && !config.init_lora_weights.product_is_zero) {
    throw ValueError("LoRAConfig: use_dora needs an adapter whose product starts at zero");
  }
}

template <class To, class From>
Tensor<To> converted(const Tensor<From>& x) {
  Tensor<To> to;
  to.resize(x.shape());
  for (index_t i = 0; i < x.numel(); ++i) to[i] = static_cast<To>(x.data()[i]);
  return to;
}

template <class T>
LoRAInitialValues<T> computed_values(Parameter<T>& weight, const LoRAConfig& config,
                                     Generator& generator) {
  LoRAInitInput input{
      converted<double>(weight.value.to(Device::cpu)), {}, config.r, config.scale(), generator};
  if (!weight.grad.empty()) {
    input.gradient = converted<double>(weight.grad.dense().to(Device::cpu));
  }
  const auto [a, b] = config.init_lora_weights.compute(config.init_lora_weights, input);
  return {converted<T>(a), converted<T>(b)};
}

/// The initial A and B for a layer with weight W (O, I), on the CPU.
template <class T>
LoRAInitialValues<T> initial_values(Parameter<T>& weight, const LoRAConfig& config,
                                    Generator& generator) {
  const LoRAInit::Kind kind = config.init_lora_weights.kind;
  if (kind == LoRAInit::computed) return computed_values(weight, config, generator);
  LoRAInitialValues<T> values{Tensor<T>({config.r, weight.value.dim(1)}),
                              Tensor<T>({weight.value.dim(0), config.r})};
  if (kind == LoRAInit::kaiming_uniform) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.value.dim(1)));
    generator.uniform(values.a.span(), -bound, bound);
  } else {
    generator.normal(values.a.span(), 0.0, kind == LoRAInit::gaussian ? 1.0 / config.r : 1.0);
  }
  return values;
}

/// ‖W_o‖₂ of every row.
template <class T>
Tensor<T> row_norms(const Tensor<T>& w) {
  Tensor<T> norms({w.dim(0)});
  for (index_t o = 0; o < w.dim(0); ++o) {
    double square = 0;
    for (index_t k = 0; k < w.dim(1); ++k) square += double{w(o, k)} * double{w(o, k)};
    norms[o] = static_cast<T>(std::sqrt(square));
  }
  return norms;
}

/// Throws ValueError unless 1 <= r <= min(in_features, out_features), and on what the initial
/// values need and do not find.
template <class T>
LoRAAdapter<T> make_lora_adapter(Linear<T>& base, const LoRAConfig& config, Generator& generator,
                                 std::string name) {
  check_lora_config(config);
  const index_t in = base.in_features();
  const index_t out = base.out_features();
  if (config.r < 1 || config.r > in || config.r > out) {
    throw_no_rank(config.r, base.to_string(), std::min(in, out));
  }
  const Device device = base.weight.value.device();
  LoRAAdapter<T> adapter;
  adapter.name = std::move(name);
  adapter.lora_alpha = config.lora_alpha;
  adapter.scale = config.scale();
  LoRAInitialValues<T> initial = initial_values(base.weight, config, generator);
  adapter.lora_A = Parameter<T>(initial.a.to(device));
  adapter.lora_B = Parameter<T>(initial.b.to(device));
  if (!config.init_lora_weights.product_is_zero) {
    adapter.initial_A = adapter.lora_A.value;
    adapter.initial_B = adapter.lora_B.value;
  }
  if (config.lora_bias) adapter.lora_B_bias = Parameter<T>(Tensor<T>({out}, device));
  if (config.use_dora) {
    adapter.magnitude = Parameter<T>(row_norms(base.weight.value.to(Device::cpu)).to(device));
  }
  if (config.bias != LoRABias::none && base.has_bias()) {
    adapter.bias = Parameter<T>(base.bias.value);
  }
  if (config.lora_dropout > 0) {
    adapter.dropout = config.lora_dropout;
    double seed[1];
    generator.uniform(std::span<double>(seed), 0.0, 0x1p53);
    adapter.dropout_seed = static_cast<std::uint64_t>(seed[0]);
  }
  return adapter;
}

}  // namespace detail

}  // namespace lora::inline v0
