// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <lora/lora.hpp>

#include "support/tensors.hpp"

namespace lora_test {

/// Gives everything that an adapter learns values as after training: none of them zero.
template <class T>
void randomize_adapter(lora::Module<T>& net, const std::string& name, std::uint64_t seed) {
  lora::PhiloxGenerator generator(seed);
  for (const auto& named : lora::adapter_parameters(net, name)) {
    generator.normal(named.parameter->value.span(), 0.0, 0.5);
    if (named.name.find("magnitude") == std::string::npos) continue;
    for (T& m : named.parameter->value.span()) m = std::fabs(m) + T(0.5);
  }
}

/// ‖W_o + s B_o A‖ of every row, for a DoRA adapter; in double.
template <class T>
std::vector<double> reference_norms(const lora::Linear<T>& base,
                                    const lora::LoRAAdapter<T>& adapter) {
  const Tensor<T>& w = base.weight.value;
  std::vector<double> norms;
  for (index_t o = 0; o < w.dim(0); ++o) {
    double square = 0;
    for (index_t k = 0; k < w.dim(1); ++k) {
      double element = static_cast<double>(w(o, k));
      for (index_t r = 0; r < adapter.rank(); ++r) {
        element += adapter.scale * adapter.strength *
                   static_cast<double>(adapter.lora_B.value(o, r)) *
                   static_cast<double>(adapter.lora_A.value(r, k));
      }
      square += element * element;
    }
    norms.push_back(std::sqrt(square));
  }
  return norms;
}

/// What an adapter adds to the output for one input row, written from the formulas: the change of
/// the weight, formed densely, times x, and the change of the bias. With `norms`, DoRA takes these.
template <class T>
std::vector<double> reference_change(const lora::Linear<T>& base,
                                     const lora::LoRAAdapter<T>& adapter, const T* x,
                                     const std::vector<double>* norms = nullptr) {
  const Tensor<T>& w = base.weight.value;
  const std::vector<double> own =
      adapter.uses_dora() ? reference_norms(base, adapter) : std::vector<double>{};
  std::vector<double> y;
  for (index_t o = 0; o < w.dim(0); ++o) {
    double sum = 0;
    for (index_t k = 0; k < w.dim(1); ++k) {
      double update = 0;
      for (index_t r = 0; r < adapter.rank(); ++r) {
        update += static_cast<double>(adapter.lora_B.value(o, r)) *
                  static_cast<double>(adapter.lora_A.value(r, k));
        if (!adapter.has_initial_values()) continue;
        update -= static_cast<double>(adapter.initial_B(o, r)) *
                  static_cast<double>(adapter.initial_A(r, k));
      }
      update *= adapter.scale * adapter.strength;
      const double before = static_cast<double>(w(o, k));
      double after = before + update;
      if (adapter.uses_dora()) {
        const auto row = static_cast<std::size_t>(o);
        after *= static_cast<double>(adapter.magnitude.value[o]) / (norms ? *norms : own)[row];
      }
      sum += (after - before) * static_cast<double>(x[k]);
    }
    if (!adapter.bias.value.empty()) {
      sum += static_cast<double>(adapter.bias.value[o]) - static_cast<double>(base.bias.value[o]);
    }
    if (!adapter.lora_B_bias.value.empty()) {
      sum += adapter.scale * adapter.strength * static_cast<double>(adapter.lora_B_bias.value[o]);
    }
    y.push_back(sum);
  }
  return y;
}

/// The output of a layer whose row i goes through the adapters rows[i].
template <class T>
Tensor<double> reference_output(const lora::Linear<T>& base, const Tensor<T>& x,
                                const std::vector<std::vector<lora::LoRAAdapter<T>*>>& rows,
                                const std::vector<double>* norms = nullptr) {
  const Tensor<T>& w = base.weight.value;
  Tensor<double> y({x.dim(0), w.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t o = 0; o < w.dim(0); ++o) {
      double sum = base.has_bias() ? static_cast<double>(base.bias.value[o]) : 0.0;
      for (index_t k = 0; k < w.dim(1); ++k) {
        sum += static_cast<double>(x(i, k)) * static_cast<double>(w(o, k));
      }
      y(i, o) = sum;
    }
    for (const auto* adapter : rows[static_cast<std::size_t>(i)]) {
      const auto change = reference_change(base, *adapter, x.data() + i * x.dim(1), norms);
      for (index_t o = 0; o < w.dim(0); ++o) y(i, o) += change[static_cast<std::size_t>(o)];
    }
  }
  return y;
}

}  // namespace lora_test
