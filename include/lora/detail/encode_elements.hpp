// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/float_formats.hpp>
#include <lora/io/safetensors.hpp>

namespace lora::inline v0::detail {

/// The elements of `from` as those of a floating-point dtype, not aligned, each rounded to the
/// nearest.
template <class T>
void round_elements(std::string_view dtype, std::span<const T> from, std::span<std::byte> to) {
  const auto convert = [&](auto encode) {
    std::byte* at = to.data();
    for (const T value : from) {
      const auto stored = encode(value);
      std::memcpy(at, &stored, sizeof stored);
      at += sizeof stored;
    }
  };
  if (dtype == "F64") convert([](T x) { return double{x}; });
  if (dtype == "F32") convert([](T x) { return static_cast<float>(x); });
  if (dtype == "F16") convert([](T x) { return float_to_f16(static_cast<float>(x)); });
  if (dtype == "BF16") convert([](T x) { return float_to_bf16(static_cast<float>(x)); });
}

/// Throws ValueError unless a file's tensors can be written as this dtype: F32, F16 or BF16.
inline void require_output_dtype(std::string_view dtype) {
  if (dtype == "F32" || dtype == "F16" || dtype == "BF16") return;
  throw ValueError("the dtype is \"" + std::string(dtype) + "\", expected F32, F16 or BF16");
}

/// The values as a file of that dtype holds them, each rounded to the nearest. Throws ValueError,
/// whose text `name` begins, where a finite value is too large for it.
template <class T>
std::vector<std::byte> encode_elements(std::string_view dtype, std::span<const T> values,
                                       const std::string& name) {
  require_output_dtype(dtype);
  std::vector<std::byte> bytes(values.size() * (dtype == "F32" ? 4 : 2));
  round_elements(dtype, values, std::span(bytes));
  std::vector<float> written(values.size());
  convert_elements(dtype, std::span<const std::byte>(bytes), std::span(written));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && !std::isfinite(written[i])) {
      throw ValueError(name + ": " + std::to_string(values[i]) + " is too large for " +
                       std::string(dtype));
    }
  }
  return bytes;
}

}  // namespace lora::inline v0::detail
