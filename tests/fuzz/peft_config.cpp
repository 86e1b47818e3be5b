// SPDX-License-Identifier: MIT
#include <lora/io/peft_config.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/memory_file.hpp"

namespace {

// Asks what a configuration says of some modules: its regular expressions are of the file too.
void match(const lora::PeftConfig& config) {
  try {
    const lora::PeftMatcher matcher(config);
    for (const std::string_view path :
         {"linear1", "model.layers.3.self_attn.q_proj", "a.b.10.b.a", ""}) {
      matcher.is_target(path, true);
      matcher.is_saved(path);
      matcher.scale(path);
    }
  } catch (const lora::ValueError&) {
  }
}

void read(std::string_view text, lora::UnknownKeys unknown_keys) {
  lora::PeftConfig config;
  try {
    config = lora::parse_peft_config(text, "file", unknown_keys);
  } catch (const lora::FileError&) {
    return;
  }
  match(config);
  const std::string written = lora::to_json(config);
  const lora::PeftConfig again = lora::parse_peft_config(written, "file");
  lora_test::require(lora::to_json(again) == written, "what is read is written and read alike");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text, lora::UnknownKeys::refuse);
  read(text, lora::UnknownKeys::ignore);
  return 0;
}
