// SPDX-License-Identifier: MIT
#include <lora/data/idx.hpp>

#include <cstddef>
#include <cstdint>

#include "fuzz/memory_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const lora::Tensor<std::uint8_t> x = lora::parse_idx({data, size}, "file");
    const auto rank = static_cast<std::size_t>(x.shape().rank());
    lora_test::require(x.span().size() + 4 + 4 * rank == size, "a tensor has its bytes");
    lora_test::touch(x.span());
  } catch (const lora::FileError&) {
  }
  return 0;
}
