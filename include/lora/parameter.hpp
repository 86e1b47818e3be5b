// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <lora/gradient.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// What a layer learns: a value, its gradient, and whether training may change it.
template <class T>
struct Parameter {
  Parameter() = default;
  explicit Parameter(Tensor<T> initial) : value(std::move(initial)) {}

  Tensor<T> value;
  Gradient<T> grad;
  bool trainable = true;
};

}  // namespace lora::inline v0
