// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/describe_layers.hpp>
#include <lora/io/resize_adapter_file.hpp>
#include <lora/nn/combine.hpp>
#include <lora/tensor.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

/// One term of a sum of adapters.
template <class T>
struct WeightedAdapterFile {
  std::string name;  ///< for the text of errors
  AdapterFile<T> adapter;
  double weight = 1;
};

template <class T>
struct CombinedAdapterFile {
  AdapterFile<T> adapter;
  std::vector<ResizedLayer> layers;  ///< `from` is the rank of the exact sum
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

inline constexpr const char* kCombineAdapterFiles = "combine_adapter_files";

/// Throws ValueError unless all that the adapter does is a product B A in each layer.
template <class T>
void require_products(const WeightedAdapterFile<T>& term) {
  const auto refuse = [&](const std::string& what) {
    throw ValueError(std::string(kCombineAdapterFiles) + ": " + term.name + " " + what +
                     ", which is not a product B A alone");
  };
  if (!std::isfinite(term.weight)) {
    throw ValueError(std::string(kCombineAdapterFiles) + ": the weight of " + term.name + " is " +
                     std::to_string(term.weight) + ", expected a finite number");
  }
  if (!term.adapter.replaced.empty()) {
    refuse("replaces " + term.adapter.replaced.begin()->first);
  }
  for (const auto& [path, layer] : term.adapter.layers) {
    if (!layer.magnitude.empty()) refuse("has DoRA in " + path);
    if (!layer.lora_B_bias.empty()) refuse("has a lora_bias in " + path);
    require_one_group(kCombineAdapterFiles, term.name + ": " + path, layer);
  }
}

/// The sum of one layer's adapters: at least one of the terms has it.
template <class T>
AdapterLayer<T> sum_of_layer(const std::string& path,
                             const std::vector<WeightedAdapterFile<T>>& terms) {
  const AdapterLayer<T>* first = nullptr;
  std::string first_name;
  std::optional<LowRankSum<T>> sum;
  for (const WeightedAdapterFile<T>& term : terms) {
    const auto found = term.adapter.layers.find(path);
    if (found == term.adapter.layers.end()) continue;
    const AdapterLayer<T>& layer = found->second;
    const Tensor<T> a = as_factor(layer.lora_A), b = as_factor(layer.lora_B);
    if (!first) {
      first = &layer;
      first_name = term.name;
      sum.emplace(a.dim(1), b.dim(0));
    }
    const auto shape_behind_rank = [](const Shape& shape) {
      return shape.rank() == 2 ? Shape{shape[1]} : Shape{shape[1], shape[2], shape[3]};
    };
    const bool fits =
        layer.embedding == first->embedding &&
        layer.lora_A.shape().rank() == first->lora_A.shape().rank() &&
        shape_behind_rank(layer.lora_A.shape()) == shape_behind_rank(first->lora_A.shape()) &&
        layer.lora_B.dim(0) == first->lora_B.dim(0);
    if (!fits) {
      throw ShapeError(std::string(kCombineAdapterFiles) + ": " + path + " has lora_A " +
                       layer.lora_A.shape().to_string() + " and lora_B " +
                       layer.lora_B.shape().to_string() + " in " + term.name + ", lora_A " +
                       first->lora_A.shape().to_string() + " and lora_B " +
                       first->lora_B.shape().to_string() + " in " + first_name +
                       ": they must be adapters of one module");
    }
    sum->add(a, b, term.weight * layer.scale);
  }
  auto [a, b] = sum->product();
  AdapterLayer<T> layer;
  layer.embedding = first->embedding;
  layer.scale = 1;
  const index_t rank = a.dim(0);
  const Shape& shape = first->lora_A.shape();
  if (shape.rank() == 4) {
    a.reshape({rank, shape[1], shape[2], shape[3]});
    b.reshape({b.dim(0), rank, 1, 1});
  }
  layer.lora_A = std::move(a);
  layer.lora_B = std::move(b);
  return layer;
}

/// What the terms agree on; the rest is as in a new configuration.
template <class T>
PeftConfig common_config(const std::vector<WeightedAdapterFile<T>>& terms) {
  PeftConfig config;
  const auto keep = [&](auto PeftConfig::*member) {
    const auto& value = terms[0].adapter.config.*member;
    for (const WeightedAdapterFile<T>& term : terms) {
      if (term.adapter.config.*member != value) return;
    }
    config.*member = value;
  };
  keep(&PeftConfig::lora_dropout);
  keep(&PeftConfig::base_model_name_or_path);
  keep(&PeftConfig::revision);
  keep(&PeftConfig::task_type);
  config.fan_in_fan_out = terms[0].adapter.config.fan_in_fan_out;
  return config;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// The adapter that is Σ weight · adapter, exactly, whatever their ranks and scales: of each layer
/// the As lie one below the other and the Bs, with weight and scale, side by side, so that its rank
/// is the sum of theirs and its scale 1. PEFT's add_weighted_adapter with combination_type="cat";
/// with a `rank`, layers of a larger one are cut to it, without B A being formed, as with "svd". A
/// layer need not be in all of the adapters.
///
/// Throws ValueError on no adapters, a weight that is not finite, a rank below 1, and adapters that
/// are no sum of products: with DoRA, with lora_bias, with a parameter that they replace, or of a
/// convolution with groups; ShapeError on adapters of different modules of one path.
template <class T>
CombinedAdapterFile<T> combine_adapter_files(const std::vector<WeightedAdapterFile<T>>& terms,
                                             std::optional<index_t> rank = std::nullopt) {
  if (terms.empty() || (rank && *rank < 1)) {
    throw ValueError(std::string(detail::kCombineAdapterFiles) + ": " +
                     std::to_string(terms.size()) + " adapters to rank " +
                     std::to_string(rank.value_or(0)) + ", expected one or more and at least 1");
  }
  for (const WeightedAdapterFile<T>& term : terms) detail::require_products(term);
  CombinedAdapterFile<T> result{{detail::common_config(terms), {}, {}}, {}};
  for (const WeightedAdapterFile<T>& term : terms) {
    for (const auto& entry : term.adapter.layers) {
      AdapterLayer<T>& layer = result.adapter.layers[entry.first];
      if (layer.lora_A.empty()) layer = detail::sum_of_layer(entry.first, terms);
    }
  }
  result.layers = detail::truncate_layers(detail::kCombineAdapterFiles, result.adapter,
                                          rank.value_or(PeftConfig::kMaxRank));
  describe_layers(result.adapter);
  return result;
}

}  // namespace lora::inline v0
