// SPDX-License-Identifier: MIT
#include "attention_lora/model.hpp"

#include <lora/layers.hpp>

#include "attention_lora/texts.hpp"

namespace attention_lora {

namespace {

lora::Sequential<float> make_block(lora::index_t dim, lora::index_t heads,
                                   lora::Generator& generator) {
  lora::Residual<float> attention;
  attention.add("norm", lora::LayerNorm<float>(dim));
  attention.add("self_attn", lora::CausalSelfAttention<float>(dim, heads, generator));

  lora::Residual<float> mlp;
  mlp.add("norm", lora::LayerNorm<float>(dim));
  mlp.add("up", lora::Linear<float>(dim, 4 * dim, generator));
  mlp.add("gelu", lora::GELU<float>());
  mlp.add("down", lora::Linear<float>(4 * dim, dim, generator));

  lora::Sequential<float> block;
  block.add("attention", std::move(attention));
  block.add("mlp", std::move(mlp));
  return block;
}

}  // namespace

lora::Sequential<float> make_transformer(const Settings& s, lora::Generator& generator) {
  const auto characters = static_cast<lora::index_t>(kCharacters.size());
  lora::Sequential<float> net;
  net.add("token", lora::Embedding<float>(characters, s.dim, generator));
  net.add("position", lora::PositionEmbedding<float>(s.context, s.dim, generator));
  for (int i = 1; i <= s.layers; ++i) {
    net.add("block" + std::to_string(i), make_block(s.dim, s.heads, generator));
  }
  net.add("norm", lora::LayerNorm<float>(s.dim));
  net.add("head", lora::Linear<float>(s.dim, characters, generator));
  return net;
}

lora::LoRAConfig lora_config(const Settings& s) {
  lora::LoRAConfig config{.r = s.rank, .lora_alpha = s.alpha};
  config.seed = s.seed;
  if (s.target_modules == std::vector<std::string>{"all-linear"}) return config;
  config.target_modules.assign(s.target_modules.begin(), s.target_modules.end());
  return config;
}

}  // namespace attention_lora
