// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/linalg/balanced_factors.hpp>
#include <lora/linalg/svd.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/combine.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// Gives an adapter a smaller rank: of its product B A in each layer the part of the `rank` largest
/// singular values, which no other product of that rank is nearer to. A layer whose rank is not
/// larger stays as it is, and the scales stay. PEFT's add_weighted_adapter with
/// combination_type="svd" is add_weighted_adapter and this. Throws ValueError, and changes nothing,
/// on a rank below 1 or above every layer's, and when there is none of that name.
template <class T>
void resize_adapter(Module<T>& module, const std::string& name, index_t rank) {
  detail::require_adapters("resize_adapter", module, {name});
  index_t largest = 0;
  std::vector<std::pair<LoRAAdapter<T>*, LoRAInitialValues<T>>> smaller;
  std::vector<std::pair<std::string, LoRAAdapter<T>*>> parts;
  for (const auto& [path, layer] : lora_layers(module)) {
    const bool is_linear = dynamic_cast<LoRALinear<T>*>(layer) != nullptr;
    for (LoRAAdapter<T>* part : layer->parts_of_adapter(name)) {
      if (!is_linear) {
        throw ValueError("resize_adapter: the adapter of " + path + ", " + layer->to_string() +
                         ", cannot be resized: only those of Linear can");
      }
      parts.emplace_back(path, part);
    }
  }
  for (const auto& [path, adapter] : parts) {
    largest = std::max(largest, adapter->rank());
    if (adapter->has_initial_values()) {
      throw ValueError("resize_adapter: the adapter of " + path +
                       " counts from initial values of its own; convert_to_lora() it first");
    }
    if (rank < 1 || adapter->rank() <= rank) continue;
    auto [a, b] =
        linalg::balanced_factors(linalg::low_rank_svd(adapter->lora_B.value.to(Device::cpu),
                                                      adapter->lora_A.value.to(Device::cpu)),
                                 rank);
    LoRAInitialValues<T> values{std::move(a), std::move(b)};
    smaller.emplace_back(adapter, std::move(values));
  }
  if (rank < 1 || rank > largest) {
    throw ValueError("resize_adapter: rank " + std::to_string(rank) + " for \"" + name +
                     "\": expected 1 to " + std::to_string(largest));
  }
  for (auto& [adapter, values] : smaller) {
    detail::set_low_rank(*adapter, std::move(values), adapter->lora_A.value.device());
  }
}

}  // namespace lora::inline v0
