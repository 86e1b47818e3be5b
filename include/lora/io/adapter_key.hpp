// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace lora::inline v0::detail {

/// What a tensor of an adapter's file is: a part of the adapter of the module at `path`, or, with
/// kOther, a parameter of the model itself, whose whole name `path` is.
struct AdapterKey {
  enum Part {
    kA,
    kB,
    kBBias,
    kEmbeddingA,
    kEmbeddingB,
    kMagnitude,
    kBaseBias,
    kBaseWeight,
    kOther
  };

  std::string path;
  Part part = kOther;
};

/// Takes a tensor's name in a file of PEFT's apart: "base_model.model.linear1.lora_A.weight" is A
/// of "linear1". The prefix may be shorter or missing, and the adapter's name may stand where it
/// stands in PyTorch: "linear1.lora_A.default.weight".
inline AdapterKey parse_adapter_key(std::string_view key, std::string_view adapter = "default") {
  struct Ending {
    std::string_view before, after;  // the adapter's name stands between the two, or nothing
    AdapterKey::Part part;
  };
  static constexpr std::array<Ending, 8> kEndings{{
      {".lora_A", ".weight", AdapterKey::kA},
      {".lora_B", ".weight", AdapterKey::kB},
      {".lora_B", ".bias", AdapterKey::kBBias},
      {".lora_embedding_A", "", AdapterKey::kEmbeddingA},
      {".lora_embedding_B", "", AdapterKey::kEmbeddingB},
      {".lora_magnitude_vector", "", AdapterKey::kMagnitude},
      {".base_layer.bias", "", AdapterKey::kBaseBias},
      {".base_layer.weight", "", AdapterKey::kBaseWeight},
  }};
  for (const std::string_view prefix : {"base_model.model.", "base_model."}) {
    if (!key.starts_with(prefix)) continue;
    key.remove_prefix(prefix.size());
    break;
  }
  const auto without = [](std::string_view text, std::string_view ending) {
    return text.ends_with(ending) ? text.substr(0, text.size() - ending.size())
                                  : std::string_view();
  };
  const std::string segment = "." + std::string(adapter);
  for (const Ending& ending : kEndings) {
    const std::string_view rest = without(key, ending.after);
    std::string_view path = without(rest, ending.before);
    if (path.empty()) path = without(without(rest, segment), ending.before);
    // In PyTorch the magnitude is a module with a weight.
    if (path.empty() && ending.part == AdapterKey::kMagnitude) {
      path = without(without(without(key, ".weight"), segment), ending.before);
    }
    if (!path.empty()) return {std::string(path), ending.part};
  }
  return {std::string(key), AdapterKey::kOther};
}

}  // namespace lora::inline v0::detail
