// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/lora_linear.hpp>
#include <lora/nn/module.hpp>
#include <lora/tensor.hpp>

// Adapters made of adapters. A sum of products B A is a product again, of the As one below the
// other and the Bs side by side. Adding A to A and B to B, as some do, is another thing: it has
// terms with the B of one adapter and the A of another.

namespace lora::inline v0::detail {

/// Σ factor B A as one product, on the CPU.
template <class T>
class LowRankSum {
 public:
  LowRankSum(index_t in, index_t out) : in_(in), out_(out) {}

  void add(const Tensor<T>& a, const Tensor<T>& b, double factor) {
    terms_.push_back({a.to(Device::cpu), b.to(Device::cpu), factor});
    rank_ += a.dim(0);
  }

  LoRAInitialValues<T> product() const {
    LoRAInitialValues<T> sum{Tensor<T>({rank_, in_}), Tensor<T>({out_, rank_})};
    index_t row = 0;
    for (const Term& term : terms_) {
      for (index_t r = 0; r < term.a.dim(0); ++r, ++row) {
        for (index_t k = 0; k < in_; ++k) sum.a(row, k) = term.a(r, k);
        for (index_t o = 0; o < out_; ++o) {
          sum.b(o, row) = static_cast<T>(term.factor * double{term.b(o, r)});
        }
      }
    }
    return sum;
  }

 private:
  struct Term {
    Tensor<T> a, b;
    double factor;
  };
  index_t in_, out_, rank_ = 0;
  std::vector<Term> terms_;
};

template <class T>
void set_low_rank(LoRAAdapter<T>& adapter, LoRAInitialValues<T> values, Device device) {
  adapter.lora_A.value = values.a.to(device);
  adapter.lora_B.value = values.b.to(device);
  adapter.lora_A.grad = {};
  adapter.lora_B.grad = {};
  adapter.initial_A = {};
  adapter.initial_B = {};
  adapter.lora_alpha = adapter.scale * static_cast<double>(adapter.rank());
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Adds an adapter that is Σ weights[i] · adapters[i], exactly: PEFT's add_weighted_adapter with
/// combination_type="cat", so its rank is the sum of theirs; resize_adapter() of
/// <lora/nn/resize_adapter.hpp> makes it smaller. It is not active yet. Its scale is 1: the
/// weights, scales and strengths are in its lora_B. Throws ValueError, and changes nothing, on
/// unknown names, on a number of weights that is not that of the names, and on adapters that are no
/// sum of products: with DoRA, with a bias or a module of their own, or of a slice.
template <class T>
void add_weighted_adapter(Module<T>& module, const std::vector<std::string>& adapters,
                          const std::vector<double>& weights, const std::string& name) {
  detail::require_adapters("add_weighted_adapter", module, adapters);
  if (adapters.empty() || adapters.size() != weights.size()) {
    throw ValueError("add_weighted_adapter: " + std::to_string(adapters.size()) + " adapters and " +
                     std::to_string(weights.size()) +
                     " weights, expected one weight for each of one or more adapters");
  }
  std::vector<std::pair<LoRALinear<T>*, std::unique_ptr<LoRAAdapter<T>>>> sums;
  for (const auto& [path, layer] : adapted_modules(module)) {
    auto* const linear = dynamic_cast<LoRALinear<T>*>(layer);
    const Linear<T>* const base = linear ? &linear->base() : nullptr;
    detail::LowRankSum<T> sum(base ? base->in_features() : 0, base ? base->out_features() : 0);
    bool any = false;
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const LoRAAdapter<T>* const part = linear ? linear->find_adapter(adapters[i]) : nullptr;
      const auto own = layer->adapter_names();
      if (std::find(own.begin(), own.end(), adapters[i]) == own.end()) continue;
      if (!part || part->uses_dora() || !part->bias.value.empty() ||
          !part->lora_B_bias.value.empty()) {
        throw ValueError("add_weighted_adapter: what \"" + adapters[i] + "\" does to " + path +
                         " is not a product B A alone");
      }
      sum.add(part->lora_A.value, part->lora_B.value, weights[i] * part->scaling());
      if (part->has_initial_values()) {
        sum.add(part->initial_A, part->initial_B, -weights[i] * part->scaling());
      }
      any = true;
    }
    if (!any) continue;
    auto combined = std::make_unique<LoRAAdapter<T>>();
    combined->name = name;
    combined->scale = 1;
    detail::set_low_rank(*combined, sum.product(), base->weight.value.device());
    sums.emplace_back(linear, std::move(combined));
  }
  const std::vector<std::string> taken = adapter_names(module);
  if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
    throw ValueError("add_weighted_adapter: the model already has an adapter named \"" + name +
                     "\"");
  }
  for (auto& [layer, combined] : sums) layer->insert(std::move(combined));
}

/// Makes an adapter that counts from initial values of its own, as PiSSA, OLoRA and LoRA-GA do, a
/// plain one with the same effect, of twice the rank: [A; A₀] and [B, -B₀]. Others stay as they
/// are. Throws ValueError when there is none of that name.
template <class T>
void convert_to_lora(Module<T>& module, const std::string& name = "default") {
  detail::require_adapters("convert_to_lora", module, {name});
  for (const auto& [path, layer] : layers_of<LoRALinear<T>>(module)) {
    for (LoRAAdapter<T>* adapter : layer->parts_of_adapter(name)) {
      if (!adapter->has_initial_values()) continue;
      detail::LowRankSum<T> sum(layer->base().in_features(), adapter->lora_B.value.dim(0));
      sum.add(adapter->lora_A.value, adapter->lora_B.value, 1);
      sum.add(adapter->initial_A, adapter->initial_B, -1);
      detail::set_low_rank(*adapter, sum.product(), layer->base().weight.value.device());
    }
  }
}

}  // namespace lora::inline v0
