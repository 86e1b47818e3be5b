// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <lora/detail/checked_size.hpp>

// What the numbers in a GGUF file stand for, after the format's public description and ggml's
// tables: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

static_assert(std::endian::native == std::endian::little,
              "GGUF files are little-endian and so must be the processor");

namespace lora::inline v0 {

/// Where the elements of a metadata array lie in the file. GgufFile::array reads them.
struct GgufArray {
  std::uint32_t type = 0;  ///< of the elements: their place in GgufValue
  std::uint64_t count = 0;
  std::uint64_t begin = 0, end = 0;  ///< bytes, from the start of the file
};

/// A value of the metadata. The place of an alternative is the format's number for the type.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t,
                               std::uint32_t, std::int32_t, float, bool, std::string, GgufArray,
                               std::uint64_t, std::int64_t, double>;

namespace detail {

inline constexpr std::array<const char*, std::variant_size_v<GgufValue>> kGgufValueNames{
    "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
    "bool",  "string", "array",  "uint64", "int64",  "float64"};

/// The bytes of one value; 0 where they depend on the value.
inline constexpr std::array<std::uint64_t, std::variant_size_v<GgufValue>> kGgufValueBytes{
    1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/// The place of T among the alternatives of GgufValue.
template <class T, std::uint32_t Type = 0>
constexpr std::uint32_t gguf_value_type() {
  if constexpr (std::is_same_v<T, std::variant_alternative_t<Type, GgufValue>>) {
    return Type;
  } else {
    return gguf_value_type<T, Type + 1>();
  }
}

/// How elements are stored: `block` of them, next to each other in a row, in `bytes` bytes.
struct GgufType {
  std::uint32_t id;
  std::string_view name;
  std::uint64_t block, bytes;
};

inline constexpr std::array<GgufType, 34> kGgufTypes{
    {{0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
     {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
     {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
     {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
     {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
     {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
     {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
     {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
     {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
     {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
     {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
     {41, "Q1_0", 128, 18}}};

inline const GgufType* find_gguf_type(std::uint32_t id) {
  const auto found = std::find_if(kGgufTypes.begin(), kGgufTypes.end(),
                                  [&](const GgufType& type) { return type.id == id; });
  return found == kGgufTypes.end() ? nullptr : &*found;
}

inline const GgufType* find_gguf_type(std::string_view name) {
  const auto found = std::find_if(kGgufTypes.begin(), kGgufTypes.end(),
                                  [&](const GgufType& type) { return type.name == name; });
  return found == kGgufTypes.end() ? nullptr : &*found;
}

/// The bytes of a tensor, shape outermost first, whose rows are whole blocks. Impossible also where
/// a size of 0 makes it empty but the other sizes multiply to more than 63 bits hold.
inline CheckedSize gguf_tensor_bytes(const GgufType& type,
                                     const std::vector<std::uint64_t>& shape) {
  CheckedSize elements = 1;
  bool empty = false;
  for (const std::uint64_t size : shape) {
    elements = elements * std::max<std::uint64_t>(size, 1);
    empty = empty || size == 0;
  }
  if (!elements.fits(std::numeric_limits<std::int64_t>::max())) return CheckedSize::impossible();
  return empty ? 0 : CheckedSize(elements.value() / type.block) * type.bytes;
}

}  // namespace detail

}  // namespace lora::inline v0
