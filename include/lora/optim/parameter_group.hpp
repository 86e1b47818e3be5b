// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include <lora/parameter.hpp>

namespace lora::inline v0 {

/// Parameters that share a learning rate: lr_ratio times that of the optimizer's options, which
/// stays the one knob that a schedule turns.
template <class T>
struct ParameterGroup {
  std::vector<Parameter<T>*> parameters;
  double lr_ratio = 1;
};

}  // namespace lora::inline v0
