// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <lora/io/adapter_file.hpp>
#include <lora/io/peft_names.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0::detail {

inline bool is_named_by_last_part(const std::vector<std::string>& names, const std::string& path) {
  const std::string last = path.substr(path.rfind('.') + 1);
  return std::find(names.begin(), names.end(), last) != names.end();
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// What well-known models call their embeddings: the last parts of the modules' paths. A file does
/// not tell an Embedding's weight from a Linear's.
inline std::vector<std::string> common_embeddings() {
  return {"embed_tokens",
          "embed_positions",
          "position_embedding",
          "position_embeddings",
          "token_embedding",
          "token_type_embeddings",
          "tok_embeddings",
          "word_embeddings",
          "wpe",
          "wte"};
}

/// Makes the configuration say what the layers are: r and lora_alpha are the most common ones, the
/// patterns name the layers with others, target_modules all of them, and the scale is lora_alpha /
/// r without rsLoRA. Each layer's lora_alpha is set to its scale times its rank. There must be a
/// layer.
template <class T>
void describe_layers(AdapterFile<T>& adapter, const std::vector<std::string>& other_modules = {}) {
  PeftConfig& config = adapter.config;
  std::vector<int> ranks;
  std::vector<double> alphas;
  std::vector<std::string> paths;
  for (auto& [path, layer] : adapter.layers) {
    const double alpha = layer.scale * static_cast<double>(layer.rank());
    // 16 / 6 · 6 need not be 16, which is what the file should say.
    const bool is_rounding = std::fabs(alpha - layer.lora_alpha) <= 1e-12 * std::fabs(alpha);
    if (!is_rounding) layer.lora_alpha = alpha;
    ranks.push_back(static_cast<int>(layer.rank()));
    alphas.push_back(layer.lora_alpha);
    paths.push_back(path);
  }
  config.r = detail::most_common(ranks);
  config.lora_alpha = detail::most_common(alphas);
  config.use_rslora = false;
  config.rank_pattern.clear();
  config.alpha_pattern.clear();
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (ranks[i] != config.r) config.rank_pattern[exact_pattern_key(paths[i])] = ranks[i];
    if (alphas[i] != config.lora_alpha) {
      config.alpha_pattern[exact_pattern_key(paths[i])] = alphas[i];
    }
  }
  config.target_modules = exact_target_modules(std::move(paths), other_modules);
  config.exclude_modules = {};
  config.layers_to_transform.clear();
  config.layers_pattern.clear();
}

}  // namespace lora::inline v0
