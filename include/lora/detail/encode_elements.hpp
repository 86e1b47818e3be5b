// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/float_formats.hpp>

namespace lora::inline v0::detail {

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
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    float written = value;
    if (dtype == "F32") {
      std::memcpy(bytes.data() + 4 * i, &value, 4);
    } else {
      const bool is_f16 = dtype == "F16";
      const std::uint16_t bits = is_f16 ? float_to_f16(value) : float_to_bf16(value);
      std::memcpy(bytes.data() + 2 * i, &bits, 2);
      written = is_f16 ? f16_to_float(bits) : bf16_to_float(bits);
    }
    if (std::isfinite(values[i]) && !std::isfinite(written)) {
      throw ValueError(name + ": " + std::to_string(values[i]) + " is too large for " +
                       std::string(dtype));
    }
  }
  return bytes;
}

}  // namespace lora::inline v0::detail
