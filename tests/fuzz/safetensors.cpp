// SPDX-License-Identifier: MIT
#include <lora/io/safetensors.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

#include "fuzz/memory_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static lora_test::MemoryFile memory;
  memory.set({data, size});
  try {
    const lora::SafetensorsFile file(memory.path());
    std::uint64_t bytes = 0;
    for (const auto& [name, info] : file.tensors()) {
      const std::uint64_t size_of_tensor = info.end - info.begin;
      bytes += size_of_tensor;
      lora_test::touch(file.bytes(name));
      if (info.shape.size() > lora::Shape::kMaxRank) continue;
      if (lora::detail::is_floating_point(info.dtype)) {
        const lora::Tensor<float> tensor = file.read_as<float>(name);
        lora_test::touch(tensor.span());
      }
      if (info.dtype == "F32") lora_test::read_tensor<float>(file, name, size_of_tensor);
      if (info.dtype == "F64") lora_test::read_tensor<double>(file, name, size_of_tensor);
      if (info.dtype == "U8") lora_test::read_tensor<std::uint8_t>(file, name, size_of_tensor);
      if (info.dtype == "I32") lora_test::read_tensor<std::int32_t>(file, name, size_of_tensor);
      if (info.dtype == "I64") lora_test::read_tensor<std::int64_t>(file, name, size_of_tensor);
    }
    lora_test::require(bytes <= size, "the tensors are in the file");
  } catch (const lora::FileError&) {
  }
  return 0;
}
