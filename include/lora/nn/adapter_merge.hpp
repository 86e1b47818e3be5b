// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <lora/detail/weight_change.hpp>
#include <lora/nn/lora_adapter.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// DoRA's m / ‖W + s B A‖ for the rows of W from first_row on that B has, 0 for one that is 0, as
/// ops::dora_gains.
template <class T>
std::vector<double> dora_gain(const Tensor<T>& w, index_t first_row, const Tensor<T>& a,
                              const Tensor<T>& b, const Tensor<T>& magnitude, double scale) {
  std::vector<double> gain(static_cast<std::size_t>(b.dim(0)));
  for (index_t o = 0; o < b.dim(0); ++o) {
    double square = 0;
    for (index_t k = 0; k < w.dim(1); ++k) {
      double sum = 0;
      for (index_t r = 0; r < a.dim(0); ++r) sum += double{b(o, r)} * double{a(r, k)};
      const double element = double{w(first_row + o, k)} + scale * sum;
      square += element * element;
    }
    if (square > 0) gain[static_cast<std::size_t>(o)] = double{magnitude[o]} / std::sqrt(square);
  }
  return gain;
}

/// What adapters change of a layer: a weight that is a matrix (O, I) with a bias (O,) or none, as a
/// Linear's and, its kernels laid out in rows, a convolution's. The table of an Embedding is the
/// transpose of such a matrix.
template <class T>
struct AdaptedWeight {
  Tensor<T>& weight;
  const Tensor<T>* bias;
  bool is_transposed = false;
};

/// x (rows, the rest in a row), or its transpose; on the CPU.
template <class T>
Tensor<T> as_factor(const Tensor<T>& x, bool transpose) {
  Tensor<T> factor = x.to(Device::cpu);
  factor.reshape({x.dim(0), x.numel() / x.dim(0)});
  if (!transpose) return factor;
  Tensor<T> transposed({factor.dim(1), factor.dim(0)});
  for (index_t i = 0; i < factor.dim(0); ++i) {
    for (index_t j = 0; j < factor.dim(1); ++j) transposed(j, i) = factor(i, j);
  }
  return transposed;
}

/// An update of a layer's weight that can be taken out again. A class of virtual functions, so that
/// only merging compiles what they do.
template <class T>
class WeightUpdate {
 public:
  virtual ~WeightUpdate() = default;

  /// Changes W by the update of the adapters, as they are now, or nothing and returns false where
  /// the result would not be finite.
  virtual bool put_in(const AdaptedWeight<T>& base, std::span<LoRAAdapter<T>* const> adapters) = 0;
  virtual void take_out(const AdaptedWeight<T>& base) = 0;

  /// Turns a copy of the changed W, on the CPU, into W.
  virtual void revert(Tensor<T>& weight) const = 0;

  Tensor<T> bias;  ///< the changed layer's; empty where it is the base's
};

template <class T>
class AdapterMerge final : public WeightUpdate<T> {
 public:
  /// Changes `weight`, a copy of the base's on the CPU.
  MergeError apply(const AdaptedWeight<T>& base, std::span<LoRAAdapter<T>* const> adapters,
                   Tensor<T>& weight) {
    const Shape shape = weight.shape();
    weight.reshape({shape[0], shape.numel() / shape[0]});
    change_.emplace(make_change(base, adapters, weight));
    this->bias = make_bias(base, adapters);
    MergeError error = change_->apply(weight);
    weight.reshape(shape);
    const Tensor<T> bias = this->bias.to(Device::cpu);
    for (const T b : bias.span()) error.finite = error.finite && std::isfinite(b);
    return error;
  }

  bool put_in(const AdaptedWeight<T>& base, std::span<LoRAAdapter<T>* const> adapters) override {
    Tensor<T>& value = base.weight;
    Tensor<T> weight = value.to(Device::cpu);
    if (!apply(base, adapters, weight).finite) return false;
    store(weight, value);
    return true;
  }

  void take_out(const AdaptedWeight<T>& base) override {
    Tensor<T>& value = base.weight;
    Tensor<T> weight = value.to(Device::cpu);
    revert(weight);
    store(weight, value);
  }

  void revert(Tensor<T>& weight) const override {
    const Shape shape = weight.shape();
    weight.reshape({shape[0], shape.numel() / shape[0]});
    change_->revert(weight);
    weight.reshape(shape);
  }

 private:
  // Where W lies, so that taking an update out cannot fail for want of memory there.
  static void store(const Tensor<T>& weight, Tensor<T>& value) {
    copy_bytes(value.data(), value.device(), weight.data(), Device::cpu,
               static_cast<std::size_t>(weight.numel()) * sizeof(T));
  }

  static WeightChange<T> make_change(const AdaptedWeight<T>& base,
                                     std::span<LoRAAdapter<T>* const> adapters,
                                     const Tensor<T>& weight) {
    std::vector<typename WeightChange<T>::Term> terms;
    std::vector<double> row_factor;
    for (const LoRAAdapter<T>* adapter : adapters) {
      if (adapter->terms() == 0) continue;
      const auto add = [&](const Tensor<T>& a, const Tensor<T>& b, double factor) {
        const bool transpose = base.is_transposed;
        Tensor<T> rows = as_factor(transpose ? a : b, transpose);
        std::vector factors(static_cast<std::size_t>(rows.dim(0)), factor);
        terms.push_back({as_factor(transpose ? b : a, transpose), std::move(rows),
                         std::move(factors), adapter->first_output});
      };
      add(adapter->lora_A.value, adapter->lora_B.value, adapter->scaling());
      if (adapter->has_initial_values()) {
        add(adapter->initial_A, adapter->initial_B, -adapter->scaling());
      }
      if (!adapter->uses_dora()) continue;
      const auto gain = dora_gain(weight, adapter->first_output, terms.back().a, terms.back().b,
                                  adapter->magnitude.value.to(Device::cpu), adapter->scaling());
      row_factor.resize(static_cast<std::size_t>(weight.dim(0)), 1.0);
      double* const own_factor = row_factor.data() + adapter->first_output;
      for (std::size_t o = 0; o < gain.size(); ++o) {
        terms.back().factor[o] *= gain[o];
        own_factor[o] += gain[o] - 1;
      }
    }
    return {std::move(terms), std::move(row_factor)};
  }

  // The adapter's change of the bias as one of all outputs.
  static Tensor<T> bias_change(const LoRAAdapter<T>& adapter, index_t outputs) {
    const Tensor<T>& own = adapter.lora_B_bias.value;
    Tensor<T> all({outputs}, own.device());
    copy_bytes(all.data() + adapter.first_output, all.device(), own.data(), own.device(),
               static_cast<std::size_t>(own.numel()) * sizeof(T));
    return all;
  }

  static Tensor<T> make_bias(const AdaptedWeight<T>& base,
                             std::span<LoRAAdapter<T>* const> adapters) {
    Tensor<T> bias;
    for (const LoRAAdapter<T>* adapter : adapters) {
      if (!adapter->bias.value.empty()) bias = adapter->bias.value;
    }
    for (const LoRAAdapter<T>* adapter : adapters) {
      if (adapter->lora_B_bias.value.empty()) continue;
      const Tensor<T> change = bias_change(*adapter, base.weight.dim(0));
      if (bias.empty() && base.bias) bias = *base.bias;
      if (bias.empty()) bias = Tensor<T>(change.shape(), change.device());
      ops::add_scaled(change, bias, adapter->scaling());
    }
    return bias;
  }

  std::optional<WeightChange<T>> change_;
};

}  // namespace lora::inline v0::detail
