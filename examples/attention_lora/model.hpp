// SPDX-License-Identifier: MIT
#pragma once

#include <lora/lora.hpp>

#include "attention_lora/result.hpp"

namespace attention_lora {

/// A decoder-only transformer, as GPT-2: y = head(norm(blocks(token + position))). Codes (B, T) to
/// logits (B, T, characters), T at most `context`. A block, to be found as block1, block2 and so
/// on, is x + self_attn(norm(x)) and then x + down(gelu(up(norm(x)))), up to 4 dim.
lora::Sequential<float> make_transformer(const Settings& settings, lora::Generator& generator);

/// The adapters that the settings ask for; "all-linear" is every Linear there is.
lora::LoRAConfig lora_config(const Settings& settings);

}  // namespace attention_lora
