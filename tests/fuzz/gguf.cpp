// SPDX-License-Identifier: MIT
#include <lora/io/gguf.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "fuzz/memory_file.hpp"

namespace {

// Reads the array as what it is, whichever of the types that be.
template <std::size_t Type = 0>
void read_array(const lora::GgufFile& file, const std::string& key, const lora::GgufArray& lies) {
  if constexpr (Type < std::variant_size_v<lora::GgufValue>) {
    using Element = std::variant_alternative_t<Type, lora::GgufValue>;
    if constexpr (!std::is_same_v<Element, lora::GgufArray>) {
      if (lies.type == Type) {
        lora_test::require(file.array<Element>(key).size() == lies.count, "all elements are there");
      }
    }
    read_array<Type + 1>(file, key, lies);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static lora_test::MemoryFile memory;
  memory.set({data, size});
  try {
    const lora::GgufFile file(memory.path());
    for (const auto& [key, value] : file.metadata()) {
      if (const auto* lies = std::get_if<lora::GgufArray>(&value)) read_array(file, key, *lies);
    }
    std::uint64_t total = 0;
    for (const auto& [name, info] : file.tensors()) {
      const auto bytes = file.read_bytes(name);
      lora_test::touch(std::span(bytes));
      total += bytes.size();
      if (info.dtype == "F32") lora_test::read_tensor<float>(file, name, bytes.size());
      if (info.dtype == "F64") lora_test::read_tensor<double>(file, name, bytes.size());
      if (info.dtype == "I32") lora_test::read_tensor<std::int32_t>(file, name, bytes.size());
      if (info.dtype == "I64") lora_test::read_tensor<std::int64_t>(file, name, bytes.size());
    }
    lora_test::require(total <= size, "the tensors are in the file");
  } catch (const lora::FileError&) {
  }
  return 0;
}
