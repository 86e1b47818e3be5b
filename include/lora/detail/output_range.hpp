// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/shape.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::detail {

/// Outputs [first, first + size) of a layer, where an op is about a slice of them.
struct OutputRange {
  index_t first, size;
};

template <class T>
MatrixView<T> columns_of(const MatrixView<T>& y, const OutputRange& outputs) {
  return {y.data + outputs.first, y.rows, outputs.size, y.stride};
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_range_error(const char* op,
                                                             const OutputRange& outputs,
                                                             index_t all) {
  throw ShapeError(std::string(op) + ": " + std::to_string(outputs.size) + " outputs from " +
                   std::to_string(outputs.first) + " on, they must lie within the layer's " +
                   std::to_string(all));
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_not_one_an_output(const char* op, const char* name,
                                                                   const TensorFacts& values,
                                                                   index_t outputs) {
  throw ShapeError(std::string(op) + ": " + name + " is " + describe(values.shape, values.device) +
                   ", for " + std::to_string(outputs) + " outputs it must have one element each");
}

/// The range itself, or all outputs where it is null.
inline OutputRange checked_outputs(const char* op, const OutputRange* outputs, index_t all) {
  if (!outputs) return {0, all};
  const auto [first, size] = *outputs;
  if (first < 0 || size < 0 || first > all - size) throw_range_error(op, *outputs, all);
  return *outputs;
}

/// `values`, on the device of y, must be a vector with an element for each output.
inline void require_one_an_output(const char* op, const char* name, const TensorFacts& values,
                                  const OutputRange& outputs, const char* y_name,
                                  const TensorFacts& y) {
  require_same_device(op, name, values, y_name, y);
  if (values.shape != Shape{outputs.size}) {
    throw_not_one_an_output(op, name, values, outputs.size);
  }
}

}  // namespace lora::inline v0::detail
