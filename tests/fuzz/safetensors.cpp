// SPDX-License-Identifier: MIT
#include <lora/io/safetensors.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

#include "fuzz/memory_file.hpp"

namespace {

template <class T>
void read(const lora::SafetensorsFile& file, const std::string& name,
          const lora::TensorInfo& info) {
  if (info.shape.size() > lora::Shape::kMaxRank) return;
  const lora::Tensor<T> tensor = file.read<T>(name);
  lora_test::require(tensor.span().size_bytes() == info.end - info.begin, "a tensor has its bytes");
  lora_test::touch(tensor.span());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static lora_test::MemoryFile memory;
  memory.set({data, size});
  try {
    const lora::SafetensorsFile file(memory.path());
    std::uint64_t bytes = 0;
    for (const auto& [name, info] : file.tensors()) {
      bytes += info.end - info.begin;
      lora_test::touch(file.bytes(name));
      if (lora::detail::is_floating_point(info.dtype) &&
          info.shape.size() <= lora::Shape::kMaxRank) {
        const lora::Tensor<float> tensor = file.read_as<float>(name);
        lora_test::touch(tensor.span());
      }
      if (info.dtype == "F32") read<float>(file, name, info);
      if (info.dtype == "F64") read<double>(file, name, info);
      if (info.dtype == "U8") read<std::uint8_t>(file, name, info);
      if (info.dtype == "I32") read<std::int32_t>(file, name, info);
      if (info.dtype == "I64") read<std::int64_t>(file, name, info);
    }
    lora_test::require(bytes <= size, "the tensors are in the file");
  } catch (const lora::FileError&) {
  }
  return 0;
}
