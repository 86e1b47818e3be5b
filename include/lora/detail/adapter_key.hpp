// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace lora::inline v0::detail {

inline constexpr std::string_view kPeftPrefix = "base_model.model.";

/// A tensor's name in a file of PEFT's without what may stand in it or not: the prefix, and the
/// adapter's name where PyTorch has it, as in "linear1.lora_A.default.weight".
inline std::string plain_peft_key(std::string key) {
  for (const std::string_view prefix : {kPeftPrefix, std::string_view("base_model.")}) {
    if (!key.starts_with(prefix)) continue;
    key.erase(0, prefix.size());
    break;
  }
  // Where the text behind ".name." begins.
  const auto behind = [&](const std::string& name) {
    const std::size_t at = key.rfind("." + name + ".");
    return at == key.npos ? key.npos : at + name.size() + 2;
  };
  for (const char* name : {"lora_A", "lora_B", "modules_to_save"}) {
    const std::size_t at = behind(name);
    const std::size_t dot = at == key.npos ? key.npos : key.find('.', at);
    if (dot != key.npos) key.erase(at, dot + 1 - at);
    if (dot != key.npos && name == std::string_view("modules_to_save")) {
      key.erase(at - std::string_view("modules_to_save.").size(), 16);
    }
  }
  for (const char* name : {"lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"}) {
    const std::size_t at = behind(name);
    if (at != key.npos) key.erase(at - 1);
  }
  return key;
}

/// What a tensor of an adapter's file is: a part of the adapter of the module at `path`; or, with
/// kOther, a parameter of the model itself, whose whole name `path` is.
struct AdapterKey {
  enum Part { kA, kB, kBBias, kEmbeddingA, kEmbeddingB, kMagnitude, kBaseBias, kBaseWeight, kOther };

  std::string path;
  Part part = kOther;
};

/// Takes a tensor's name in a file of PEFT's apart: "base_model.model.linear1.lora_A.weight" is A
/// of "linear1".
inline AdapterKey parse_adapter_key(std::string_view key) {
  struct Ending {
    std::string_view text;
    AdapterKey::Part part;
  };
  static constexpr std::array<Ending, 8> kEndings{{
      {".lora_A.weight", AdapterKey::kA},
      {".lora_B.weight", AdapterKey::kB},
      {".lora_B.bias", AdapterKey::kBBias},
      {".lora_embedding_A", AdapterKey::kEmbeddingA},
      {".lora_embedding_B", AdapterKey::kEmbeddingB},
      {".lora_magnitude_vector", AdapterKey::kMagnitude},
      {".base_layer.bias", AdapterKey::kBaseBias},
      {".base_layer.weight", AdapterKey::kBaseWeight},
  }};
  std::string plain = plain_peft_key(std::string(key));
  for (const Ending& ending : kEndings) {
    if (!plain.ends_with(ending.text)) continue;
    plain.resize(plain.size() - ending.text.size());
    return {std::move(plain), ending.part};
  }
  return {std::move(plain), AdapterKey::kOther};
}

}  // namespace lora::inline v0::detail
