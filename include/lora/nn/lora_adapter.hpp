// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
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
  Parameter<T> lora_A;       ///< (R, I); of a convolution (R, C, KH, KW), of an embedding (R, V)
  Parameter<T> lora_B;       ///< (O, R); of a convolution (O, R/groups, 1, 1)
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
  bool of_embedding = false;  ///< whose A and B PEFT names in another way

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
    show(of_embedding ? "lora_embedding_A." : "lora_A.", of_embedding ? "" : ".weight", lora_A);
    show(of_embedding ? "lora_embedding_B." : "lora_B.", of_embedding ? "" : ".weight", lora_B);
    show("lora_B.", ".bias", lora_B_bias);
    show("lora_magnitude_vector.", ".weight", magnitude);
    show("lora_bias.", ".bias", bias);
  }
};

namespace detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_no_rank(index_t rank, const std::string& layer,
                                                         index_t largest) {
  throw ValueError("LoRAConfig: r is " + std::to_string(rank) + " for " + layer +
                   ": expected 1 to " + std::to_string(largest));
}

/// The initial A of a layer, each of whose outputs has `fan_in` inputs; none where they are
/// computed.
template <class T>
void draw_lora_A(const LoRAConfig& config, index_t fan_in, Tensor<T>& a, Generator& generator) {
  if (config.init_lora_weights.kind == LoRAInit::kaiming_uniform) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    generator.uniform(a.span(), -bound, bound);
  } else if (config.init_lora_weights.kind != LoRAInit::computed) {
    const bool gaussian = config.init_lora_weights.kind == LoRAInit::gaussian;
    generator.normal(a.span(), 0.0, gaussian ? 1.0 / config.r : 1.0);
  }
}

template <class T>
void set_dropout(LoRAAdapter<T>& adapter, const LoRAConfig& config, Generator& generator) {
  adapter.dropout = config.lora_dropout;
  double seed[1];
  generator.uniform(std::span<double>(seed), 0.0, 0x1p53);
  adapter.dropout_seed = static_cast<std::uint64_t>(seed[0]);
}

/// A and B alone, with B zero. Throws ValueError unless 1 <= r <= min(in_features, out_features).
template <class T>
std::unique_ptr<LoRAAdapter<T>> make_plain_adapter(const Linear<T>& base, const LoRAConfig& config,
                                                   Generator& generator, std::string name) {
  const index_t in = base.in_features();
  const index_t out = base.out_features();
  const index_t r = config.r;
  if (r < 1 || r > in || r > out) throw_no_rank(r, base.to_string(), std::min(in, out));
  Tensor<T> a({r, in});
  draw_lora_A(config, in, a, generator);
  const Device device = base.weight.value.device();
  auto adapter = std::make_unique<LoRAAdapter<T>>();
  adapter->name = std::move(name);
  adapter->lora_alpha = config.lora_alpha;
  adapter->scale = config.scale();
  adapter->lora_A.value = a.to(device);
  adapter->lora_B.value = Tensor<T>({out, r}, device);
  return adapter;
}

}  // namespace detail

}  // namespace lora::inline v0
