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
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/parameter.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// One named adapter of one layer, or of a slice of its outputs: what it learns, and how it counts.
/// S is the number of outputs that it reaches, O those of the layer.
template <class T>
struct LoRAAdapter {
  std::string name;
  std::string slice;         ///< the slice's name; empty: the whole layer, S = O
  index_t first_output = 0;  ///< it reaches [first_output, first_output + S)

  Parameter<T> lora_A;       ///< (R, I); of a convolution (R, C, KH, KW), of an embedding (R, V)
  Parameter<T> lora_B;       ///< (S, R); of a convolution (O, R/groups, 1, 1)
  Parameter<T> lora_B_bias;  ///< (S,) with LoRAConfig::lora_bias, else empty
  Parameter<T> magnitude;    ///< (S,) with LoRAConfig::use_dora, else empty
  Parameter<T> bias;         ///< (O,) the layer's bias with this adapter, where it has its own;
                             ///< never with a slice

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

  /// How many products it adds: none without A and B, two where it counts from initial values.
  std::size_t terms() const noexcept { return rank() == 0 ? 0 : has_initial_values() ? 2 : 1; }
  bool uses_dora() const noexcept { return !magnitude.value.empty(); }
  bool has_initial_values() const noexcept { return !initial_A.empty(); }

  /// Whether it is A and B of the whole layer and nothing else; in eval(), when dropout does
  /// nothing.
  bool is_plain() const noexcept { return dropout == 0 && is_plain_in_eval(); }
  bool is_plain_in_eval() const noexcept {
    return rank() > 0 && slice.empty() && !uses_dora() && !has_initial_values() &&
           bias.value.empty() && lora_B_bias.value.empty();
  }

  /// Calls visit(name, parameter) with PEFT's names within the layer, such as
  /// "lora_A.default.weight", or within the slice: "q.lora_A.default.weight".
  template <class Visit>
  void for_each_parameter(const Visit& visit) {
    const std::string prefix = slice.empty() ? "" : slice + ".";
    const auto show = [&](const char* before, const char* after, Parameter<T>& parameter) {
      if (!parameter.value.empty()) visit((prefix + before + name + after).c_str(), parameter);
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

[[noreturn]] LORA_NEVER_INLINE inline void throw_no_slice(const OutputSlice& slice,
                                                          const std::string& layer) {
  throw ValueError(layer + " has no slice \"" + slice.name + "\" of " + std::to_string(slice.size) +
                   " outputs from " + std::to_string(slice.first) + " on");
}

/// A and B alone, with B zero, of a slice of the layer unless it is null. Throws ValueError unless
/// 1 <= r <= min(in_features, out_features), a slice's own, and on a slice beyond the layer.
template <class T>
std::unique_ptr<LoRAAdapter<T>> make_plain_adapter(const Linear<T>& base, const LoRAConfig& config,
                                                   Generator& generator, std::string name,
                                                   const OutputSlice* slice = nullptr) {
  const index_t in = base.in_features();
  const index_t out = slice ? slice->size : base.out_features();
  const index_t r = config.r;
  if (slice && (slice->first < 0 || out < 1 || slice->first > base.out_features() - out)) {
    throw_no_slice(*slice, base.to_string());
  }
  if (r < 1 || r > in || r > out) {
    const std::string part = slice ? slice->name + " of " : "";
    throw_no_rank(r, part + base.to_string(), std::min(in, out));
  }
  Tensor<T> a({r, in});
  draw_lora_A(config, in, a, generator);
  const Device device = base.weight.value.device();
  auto adapter = std::make_unique<LoRAAdapter<T>>();
  adapter->name = std::move(name);
  if (slice) {
    adapter->slice = slice->name;
    adapter->first_output = slice->first;
  }
  adapter->lora_alpha = config.lora_alpha;
  adapter->scale = config.scale();
  adapter->lora_A.value = a.to(device);
  adapter->lora_B.value = Tensor<T>({out, r}, device);
  return adapter;
}

}  // namespace detail

}  // namespace lora::inline v0
