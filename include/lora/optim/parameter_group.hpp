// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include <lora/parameter.hpp>

namespace lora::inline v0 {

/// Parameters that share multiples of what the optimizer's options say, which stay the one knob
/// that a schedule turns: lr_ratio of the learning rate, and weight_decay_ratio of the decay, 0 for
/// the biases and norms that it should leave alone.
template <class T>
struct ParameterGroup {
  std::vector<Parameter<T>*> parameters;
  double lr_ratio = 1;
  double weight_decay_ratio = 1;
};

}  // namespace lora::inline v0
