// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/tensor.hpp>

namespace example_support {

/// Whether the two have the same shape and, bit for bit, the same elements, wherever they lie.
bool same_bits(const lora::Tensor<float>& x, const lora::Tensor<float>& y);

/// Throws lora::Error when the loss of a batch, counted from 0, is no finite number.
void require_finite(double loss, const std::string& label, lora::index_t batch);

}  // namespace example_support
