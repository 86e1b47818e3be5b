// SPDX-License-Identifier: MIT
#include <lora/io/safetensors_model.hpp>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>

#include "fuzz/memory_file.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

namespace {

// A folder with two shards, to which an index may lead.
struct Shards {
  Shards() {
    const lora::Tensor<float> x({2}, {1, 2});
    lora::write_safetensors(folder / "1", {lora::tensor_entry("a", x)});
    lora::write_safetensors(folder / "2", {lora::tensor_entry("b", x), lora::tensor_entry("c", x)});
  }

  lora_test::TemporaryFolder folder;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Shards shards;
  const auto path = shards.folder / "index.json";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const lora::SafetensorsModel model(path);
    for (const std::string& name : model.names()) {
      lora_test::require(model.find(name) != nullptr, "a name is one of a tensor");
      lora_test::touch(model.find(name)->bytes(name));
    }
  } catch (const lora::FileError&) {
  }
  return 0;
}
