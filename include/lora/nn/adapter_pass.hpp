// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/detail/backend.hpp>
#include <lora/detail/output_range.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/error.hpp>
#include <lora/nn/adapted_module.hpp>
#include <lora/nn/linear.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/dora.hpp>
#include <lora/ops/dropout.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/ops/linear.hpp>
#include <lora/ops/multi_lora.hpp>
#include <lora/ops/relu.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// A layer's pass through several adapters, or through one that is more than A and B: all of them
/// on all rows, or each row its own. With u = x Wᵀ and h = s x Aᵀ, row by row,
///     y = u + b + Σ [(g - 1) ∘ u + g ∘ (h Bᵀ) + c],   g = m / ‖W + s B A‖ with DoRA, else 1
/// where c is what the adapter changes of the bias; then the ReLU, if there is one. An adapter of a
/// slice of the outputs adds to these alone. The weight is visited once forward and once backward,
/// whatever the number of adapters. The drop rate is one for all: the mask is the input's.
template <class T>
class AdapterPass {
 public:
  AdapterPass(Linear<T>& base, std::span<LoRAAdapter<T>* const> adapters, const AdapterIds* ids,
              Saved<T>& saved)
      : base_(base), ids_(ids), saved_(saved) {
    index_t columns = 0;
    std::size_t terms = 0;
    for (LoRAAdapter<T>* adapter : adapters) {
      const auto place = static_cast<std::int32_t>(parts_.size());
      const std::int32_t id = ids ? ids->number_of(adapter->name) : place;
      if (id < 0) continue;
      parts_.push_back({adapter, id, columns, terms});
      terms += adapter->terms();
      columns += adapter->rank() * static_cast<index_t>(adapter->terms());
      if (adapter->uses_dora()) dora_rank_ += adapter->rank();
    }
    saved.intermediates.resize(kOfParts + kPerPart * parts_.size());
  }

  void forward(const Tensor<T>& x, bool training) {
    saved_.row_ids =
        ids_ ? std::make_shared<const Tensor<std::int32_t>>(ids_->of_rows(x)) : nullptr;
    Tensor<T>& u = this->u();
    if (dora_rank_ > 0) {
      const Tensor<T>& directions = stacked_directions();
      ops::dora_linear(x, directions, base_.weight.value, u, at(kWA), at(kSquares));
      compute_gains();
    } else {
      ops::linear<T>(x, base_.weight.value, nullptr, u);
    }
    const Tensor<T>* input = &x;
    if (training && drop_rate() > 0) {
      ops::dropout(x, at(kDropped), drop_rate(), dropout_key());
      input = &at(kDropped);
    }
    const auto terms = make_terms();
    ops::multi_lora_shrink(*input, terms, row_ids(), at(kH));
    const bool biases = any_changes_bias();
    ops::multi_lora_expand(u, at(kH), terms, row_ids(), base_.bias_value(), saved_.output,
                           biases ? Activation::none : saved_.activation);
    if (biases) add_bias_changes();
  }

  void backward(const Tensor<T>& x, const Tensor<T>& dy, Tensor<T>* dx, bool training) {
    const auto terms = make_terms();
    const bool drops = training && drop_rate() > 0;
    const Tensor<T>* du = &dy;
    if (dora_rank_ > 0) {
      ops::multi_lora_backward_output(dy, terms, row_ids(), at(kDu));
      du = &at(kDu);
    }
    ops::multi_lora_backward_shrink(dy, terms, row_ids(), at(kDh));
    if (dx) backward_input(x, *du, terms, *dx, drops);
    for_each_part(x.device(), [&](std::size_t i) {
      const LoRAAdapter<T>& adapter = *parts_[i].adapter;
      if (adapter.rank() > 0) {
        accumulate_gradients(i, terms, drops ? at(kDropped) : x, dy);
      }
      if (changes_bias(adapter)) accumulate_bias_change(i, dy);
    });
    if (base_.weight.trainable) base_.weight.grad.accumulate_outer(*du, x);
    if (base_.has_bias() && base_.bias.trainable) accumulate_base_bias(dy);
  }

 private:
  // The tensors of Saved::intermediates, and behind them those of each part.
  enum : std::size_t {
    kH,
    kDh,
    kU,
    kDu,
    kDirections,
    kWA,
    kSquares,
    kDropped,
    kDxDropped,
    kOfParts
  };
  enum : std::size_t { kNorms, kGain, kGainGradient, kBiasChange, kBiasGradient, kPerPart };

  struct Part {
    LoRAAdapter<T>* adapter;
    std::int32_t id;
    index_t first;     // its columns of h
    std::size_t term;  // the first of its terms
  };

  // Parts have no gradient in common, so on the CPU several are shared among the threads.
  template <class F>
  void for_each_part(Device device, const F& f) {
    std::vector<std::exception_ptr> faults(parts_.size());
    const auto run = [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        try {
          f(i);
        } catch (...) {
          faults[i] = std::current_exception();
        }
      }
    };
    const auto count = static_cast<std::int64_t>(parts_.size());
    if (count > 1 && device == Device::cpu) {
      parallel_for(count, 1, run);
    } else {
      run(0, count);
    }
    for (const std::exception_ptr& fault : faults) {
      if (fault) std::rethrow_exception(fault);
    }
  }

  Tensor<T>& at(std::size_t i) { return saved_.intermediates[i]; }
  Tensor<T>& of_part(std::size_t part, std::size_t i) {
    return saved_.intermediates[kOfParts + kPerPart * part + i];
  }

  // DoRA's backward pass needs u, so it has a place of its own there.
  Tensor<T>& u() { return dora_rank_ > 0 ? at(kU) : saved_.output; }

  const Tensor<std::int32_t>* row_ids() const { return saved_.row_ids.get(); }

  double drop_rate() const {
    double rate = parts_.empty() ? 0 : parts_.front().adapter->dropout;
    for (const Part& part : parts_) {
      if (part.adapter->dropout == rate) continue;
      throw ValueError("adapters that run together in training must have one lora_dropout; \"" +
                       parts_.front().adapter->name + "\" has " + std::to_string(rate) + ", \"" +
                       part.adapter->name + "\" " + std::to_string(part.adapter->dropout));
    }
    return rate;
  }

  DropoutKey dropout_key() const {
    return {parts_.front().adapter->dropout_seed, 0, saved_.random_offset};
  }

  static bool changes_bias(const LoRAAdapter<T>& adapter) {
    return !adapter.bias.value.empty() || !adapter.lora_B_bias.value.empty();
  }

  static OutputRange outputs_with(const LoRAAdapter<T>& adapter, const Tensor<T>& one_an_output) {
    return {adapter.first_output, one_an_output.dim(0)};
  }

  // The rows of A of all parts with DoRA, one part below the other: (ΣR, I).
  const Tensor<T>& stacked_directions() {
    const Tensor<T>* only = nullptr;
    Tensor<T>& all = at(kDirections);
    const Tensor<T>& weight = base_.weight.value;
    index_t row = 0;
    for (const Part& part : parts_) {
      if (!part.adapter->uses_dora()) continue;
      const Tensor<T>& a = part.adapter->lora_A.value;
      if (a.dim(0) == dora_rank_) return a;
      if (!only) all.resize({dora_rank_, weight.dim(1)}, weight.device());
      only = &a;
      copy_bytes(all.data() + row * a.dim(1), weight.device(), a.data(), weight.device(),
                 static_cast<std::size_t>(a.numel()) * sizeof(T));
      row += a.dim(0);
    }
    return all;
  }

  void compute_gains() {
    index_t row = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const LoRAAdapter<T>& adapter = *parts_[i].adapter;
      if (!adapter.uses_dora()) continue;
      const OutputRange outputs = outputs_with(adapter, adapter.magnitude.value);
      ops::dora_gains(at(kWA), row, at(kSquares), adapter.lora_A.value, adapter.lora_B.value,
                      base_.weight.value, adapter.magnitude.value, adapter.scaling(),
                      of_part(i, kNorms), of_part(i, kGain), &outputs);
      row += adapter.rank();
    }
  }

  bool any_changes_bias() const {
    for (const Part& part : parts_) {
      if (changes_bias(*part.adapter)) return true;
    }
    return false;
  }

  // What each adapter changes of the bias is added behind the rest, and then comes the ReLU.
  void add_bias_changes() {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const LoRAAdapter<T>& adapter = *parts_[i].adapter;
      if (!changes_bias(adapter)) continue;
      Tensor<T>& change = of_part(i, kBiasChange);
      if (!adapter.bias.value.empty()) {
        change = adapter.bias.value;
        ops::add_scaled(base_.bias.value, change, -1.0);
      } else {
        change.resize(adapter.lora_B_bias.value.shape(), adapter.lora_B_bias.value.device());
        ops::fill(change, 0.0);
      }
      if (!adapter.lora_B_bias.value.empty()) {
        ops::add_scaled(adapter.lora_B_bias.value, change, adapter.scaling());
      }
      const OutputRange outputs = outputs_with(adapter, change);
      ops::multi_lora_add_bias(change, row_ids(), parts_[i].id, saved_.output, &outputs);
    }
    if (saved_.activation == Activation::relu) ops::relu(saved_.output, saved_.output);
  }

  std::vector<AdapterTerm<T>> make_terms() {
    std::vector<AdapterTerm<T>> terms;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const LoRAAdapter<T>* const adapter = parts_[i].adapter;
      const auto [id, first] = std::pair(parts_[i].id, parts_[i].first);
      if (adapter->terms() == 0) continue;
      const Tensor<T>* const gain = adapter->uses_dora() ? &of_part(i, kGain) : nullptr;
      terms.push_back(adapter_term(adapter->lora_A.value, adapter->lora_B.value, gain,
                                   adapter->uses_dora(), id, first, adapter->scaling(),
                                   adapter->first_output));
      if (adapter->terms() == 1) continue;
      terms.push_back(adapter_term<T>(adapter->initial_A, adapter->initial_B, nullptr, false, id,
                                      first + adapter->rank(), -adapter->scaling(),
                                      adapter->first_output));
    }
    return terms;
  }

  void backward_input(const Tensor<T>& x, const Tensor<T>& du,
                      std::span<const AdapterTerm<T>> terms, Tensor<T>& dx, bool drops) {
    const Tensor<T>* relu_output = saved_.input_is_relu ? &x : nullptr;
    ops::linear_backward_input(du, base_.weight.value, dx);
    if (!drops) {
      return ops::multi_lora_backward_input(at(kDh), terms, row_ids(), relu_output, dx);
    }
    Tensor<T>& dropped = at(kDxDropped);
    dropped.resize(x.shape(), x.device());
    ops::fill(dropped, 0.0);
    ops::multi_lora_backward_input<T>(at(kDh), terms, row_ids(), nullptr, dropped);
    ops::dropout_add(dropped, dx, drop_rate(), dropout_key(), relu_output);
  }

  void accumulate_gradients(std::size_t i, std::span<const AdapterTerm<T>> terms,
                            const Tensor<T>& input, const Tensor<T>& dy) {
    LoRAAdapter<T>* const adapter = parts_[i].adapter;
    const AdapterTerm<T>& term = terms[parts_[i].term];
    if (adapter->lora_A.trainable) {
      adapter->lora_A.grad.accumulate_with([&](Tensor<T>& da, bool accumulate) {
        ops::multi_lora_backward_weights<T>(dy, input, at(kH), at(kDh), term, row_ids(), &da,
                                            nullptr, accumulate);
      });
    }
    if (adapter->lora_B.trainable) {
      adapter->lora_B.grad.accumulate_with([&](Tensor<T>& db, bool accumulate) {
        ops::multi_lora_backward_weights<T>(dy, input, at(kH), at(kDh), term, row_ids(), nullptr,
                                            &db, accumulate);
      });
    }
    if (adapter->uses_dora() && adapter->magnitude.trainable) {
      Tensor<T>& gain_gradient = of_part(i, kGainGradient);
      ops::multi_lora_backward_gain(dy, u(), at(kH),
                                    terms.subspan(parts_[i].term, adapter->terms()), row_ids(),
                                    parts_[i].id, gain_gradient, false);
      adapter->magnitude.grad.accumulate_with([&](Tensor<T>& dm, bool accumulate) {
        ops::dora_backward_magnitude(gain_gradient, of_part(i, kNorms), dm, accumulate);
      });
    }
  }

  void accumulate_bias_change(std::size_t i, const Tensor<T>& dy) {
    LoRAAdapter<T>* const adapter = parts_[i].adapter;
    Tensor<T>& sum = of_part(i, kBiasGradient);
    const OutputRange outputs = outputs_with(*adapter, of_part(i, kBiasChange));
    ops::multi_lora_backward_bias(dy, row_ids(), parts_[i].id, sum, false, &outputs);
    if (!adapter->bias.value.empty() && adapter->bias.trainable) adapter->bias.grad.accumulate(sum);
    if (adapter->lora_B_bias.value.empty() || !adapter->lora_B_bias.trainable) return;
    ops::scale(sum, adapter->scaling());
    adapter->lora_B_bias.grad.accumulate(sum);
  }

  // The rows whose adapter has a bias of its own have nothing of the base's.
  void accumulate_base_bias(const Tensor<T>& dy) {
    const auto has_own = [&](std::int32_t id) {
      for (const Part& part : parts_) {
        if (part.id == id && !part.adapter->bias.value.empty()) return true;
      }
      return false;
    };
    if (!ids_) {
      for (const Part& part : parts_) {
        if (has_own(part.id)) return;
      }
      return base_.bias.grad.accumulate_rows(dy);
    }
    for (std::int32_t id = -1; id < static_cast<std::int32_t>(ids_->names.size()); ++id) {
      if (has_own(id)) continue;
      base_.bias.grad.accumulate_with([&](Tensor<T>& db, bool accumulate) {
        ops::multi_lora_backward_bias(dy, row_ids(), id, db, accumulate);
      });
    }
  }

  Linear<T>& base_;
  const AdapterIds* ids_;
  Saved<T>& saved_;
  std::vector<Part> parts_;
  index_t dora_rank_ = 0;
};

/// The two passes, by address, so that only a layer that runs adapters together compiles them.
template <class T>
struct AdapterPasses {
  void (*forward)(Linear<T>& base, const std::vector<LoRAAdapter<T>*>& adapters,
                  const AdapterIds* ids, const Tensor<T>& x, Saved<T>& saved, bool training);
  void (*backward)(Linear<T>& base, const std::vector<LoRAAdapter<T>*>& adapters,
                   const AdapterIds* ids, const Tensor<T>& x, Saved<T>& saved, bool training,
                   const Tensor<T>& dy, Tensor<T>* dx);
};

template <class T>
inline constexpr AdapterPasses<T> kAdapterPasses{
    [](Linear<T>& base, const std::vector<LoRAAdapter<T>*>& adapters, const AdapterIds* ids,
       const Tensor<T>& x, Saved<T>& saved,
       bool training) { AdapterPass<T>(base, adapters, ids, saved).forward(x, training); },
    [](Linear<T>& base, const std::vector<LoRAAdapter<T>*>& adapters, const AdapterIds* ids,
       const Tensor<T>& x, Saved<T>& saved, bool training, const Tensor<T>& dy, Tensor<T>* dx) {
      AdapterPass<T>(base, adapters, ids, saved).backward(x, dy, dx, training);
    }};

}  // namespace lora::inline v0::detail
