// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/gguf.hpp>
#include <lora/shape.hpp>

// An adapter as llama.cpp loads it: tensors "<name of the weight>.lora_a" and ".lora_b", and one
// alpha for all of them, which stands for alpha / rank. An alpha of 0 stands for a scale of 1, so
// each layer's own scale is multiplied into its B: with it rsLoRA and alpha_pattern come out right.

namespace lora::inline v0 {

/// One adapted layer, to be written; the spans must live until then.
struct GgufAdapterLayer {
  std::string base_name;     ///< of the weight in the base model's file: "blk.0.attn_q.weight"
  std::span<const float> a;  ///< (R, I), row-major
  std::span<const float> b;  ///< (O, R)
  index_t r = 0, in = 0, out = 0;
  double scale = 1;        ///< alpha / r, or alpha / sqrt(r) of rsLoRA
  bool embedding = false;  ///< of the token embedding: `in` is the vocabulary
};

/// How many heads the attention has, and how many of keys and values. Asked for where the weights
/// of a model stand in another order in GGUF than in Hugging Face's files.
struct GgufHeads {
  index_t heads = 0, kv_heads = 0;
};

/// The name in GGUF of the weight of a module of Hugging Face's models: for the architectures
/// "llama" (Llama, Mistral) and "qwen2", "model.layers.3.self_attn.q_proj", with "model." or
/// without, is "blk.3.attn_q.weight". Any other path keeps its name: "<path>.weight".
inline std::string gguf_base_name(std::string_view architecture, std::string_view module_path) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kOfLayers{
      {{"self_attn.q_proj", "attn_q"},
       {"self_attn.k_proj", "attn_k"},
       {"self_attn.v_proj", "attn_v"},
       {"self_attn.o_proj", "attn_output"},
       {"mlp.gate_proj", "ffn_gate"},
       {"mlp.up_proj", "ffn_up"},
       {"mlp.down_proj", "ffn_down"}}};
  const std::string unchanged = std::string(module_path) + ".weight";
  if (architecture != "llama" && architecture != "qwen2") return unchanged;
  std::string_view path = module_path;
  if (path.starts_with("model.")) path.remove_prefix(6);
  if (path == "embed_tokens") return "token_embd.weight";
  if (path == "lm_head") return "output.weight";
  if (!path.starts_with("layers.")) return unchanged;
  path.remove_prefix(7);
  const std::size_t digits = path.find_first_not_of("0123456789");
  if (digits == 0 || digits == path.npos || path[digits] != '.') return unchanged;
  for (const auto& [name, gguf_name] : kOfLayers) {
    if (path.substr(digits + 1) == name) {
      return "blk." + std::string(path.substr(0, digits)) + "." + std::string(gguf_name) +
             ".weight";
    }
  }
  return unchanged;
}

/// The rows (O, R) of the B of a query or key projection in the order in which llama.cpp's "llama"
/// rotates them. Hugging Face turns element s of a head of d with element s + d/2, llama.cpp turns
/// neighbours: row (half h, s) of each head becomes row (s, h), as reshaping (heads, 2, d/2, R) and
/// swapping the two axes in the middle does. Throws ShapeError unless the heads divide the rows
/// into even numbers.
inline std::vector<float> permute_rope_rows(std::span<const float> b, index_t out, index_t r,
                                            index_t heads) {
  if (heads < 1 || out % (2 * heads) != 0 || b.size() != static_cast<std::size_t>(out * r)) {
    throw ShapeError("permute_rope_rows: " + std::to_string(out) + " rows of " + std::to_string(r) +
                     " are not " + std::to_string(heads) + " heads of an even number of rows");
  }
  const index_t half = out / (2 * heads);
  std::vector<float> permuted;
  permuted.reserve(b.size());
  for (index_t row = 0; row < out; ++row) {
    const index_t head = row / (2 * half), s = row % (2 * half) / 2, h = row % 2;
    const index_t from = (head * 2 + h) * half + s;
    const auto values = b.subspan(static_cast<std::size_t>(from * r), static_cast<std::size_t>(r));
    permuted.insert(permuted.end(), values.begin(), values.end());
  }
  return permuted;
}

namespace detail {

inline void require_gguf_layer(const GgufAdapterLayer& layer) {
  const auto fail = [&](const std::string& what) {
    throw ValueError("write_gguf_adapter: " + layer.base_name + what);
  };
  if (layer.base_name.empty()) fail("a layer without the name of its weight");
  constexpr index_t kMax = index_t{1} << 31;
  const bool sizes = layer.r > 0 && layer.in > 0 && layer.out > 0 && layer.r < kMax &&
                     layer.in < kMax && layer.out < kMax;
  if (!sizes || layer.a.size() != static_cast<std::size_t>(layer.r * layer.in) ||
      layer.b.size() != static_cast<std::size_t>(layer.out * layer.r)) {
    fail(": expected A of " + std::to_string(layer.r) + " x " + std::to_string(layer.in) +
         " and B of " + std::to_string(layer.out) + " x " + std::to_string(layer.r) +
         " values, got " + std::to_string(layer.a.size()) + " and " +
         std::to_string(layer.b.size()));
  }
  // llama.cpp tells an embedding by its name, and takes its A transposed.
  if (layer.embedding != layer.base_name.ends_with("token_embd.weight")) {
    fail(layer.embedding ? " is an embedding, expected the name token_embd.weight"
                         : " is the name of an embedding, which the layer is not");
  }
  if (!std::isfinite(layer.scale)) fail(": the scale is not finite");
  for (const float x : layer.a) {
    if (!std::isfinite(x)) fail(": A has a value that is not finite");
  }
}

/// (R, I) as (I, R) for an embedding, whose rows are looked up by token.
inline std::vector<float> gguf_a(const GgufAdapterLayer& layer) {
  if (!layer.embedding) return {layer.a.begin(), layer.a.end()};
  std::vector<float> transposed;
  transposed.reserve(layer.a.size());
  for (index_t i = 0; i < layer.in; ++i) {
    for (index_t k = 0; k < layer.r; ++k) {
      transposed.push_back(layer.a[static_cast<std::size_t>(k * layer.in + i)]);
    }
  }
  return transposed;
}

/// B with the scale in it, its rows in llama.cpp's order.
inline std::vector<float> gguf_b(const GgufAdapterLayer& layer, const std::string& architecture,
                                 const GgufHeads& heads) {
  std::vector<float> b(layer.b.begin(), layer.b.end());
  for (float& x : b) {
    const auto scaled = static_cast<float>(layer.scale * double{x});
    if (!std::isfinite(scaled)) {
      throw ValueError("write_gguf_adapter: " + layer.base_name +
                       ": B times the scale has a value that is not finite");
    }
    x = scaled;
  }
  const bool query = layer.base_name.ends_with(".attn_q.weight");
  if (architecture != "llama" || !(query || layer.base_name.ends_with(".attn_k.weight"))) return b;
  const index_t of_layer = query ? heads.heads : heads.kv_heads;
  if (of_layer < 1) {
    throw ValueError("write_gguf_adapter: " + layer.base_name +
                     ": the rows of a llama's queries and keys change places by heads; expected "
                     "the numbers of heads and of heads of keys and values");
  }
  return permute_rope_rows(b, layer.out, layer.r, of_layer);
}

inline TensorEntry gguf_entry(std::string name, const std::vector<float>& values, index_t rows) {
  const std::uint64_t count = values.size(), outer = static_cast<std::uint64_t>(rows);
  return {std::move(name), "F32", {outer, count / outer}, std::as_bytes(std::span(values))};
}

}  // namespace detail

/// Writes an adapter for llama.cpp, atomically, in float32. `architecture` is the base model's
/// general.architecture: "llama", "qwen2". `heads` has to be given where a llama's query or key
/// projections are adapted. Throws ValueError on values that are not finite, on sizes that do not
/// fit, on no layers and on names of more than 56 bytes, ShapeError on heads that do not divide the
/// rows, and FileError when writing fails, and then an old file of that name stays as it was.
inline void write_gguf_adapter(const std::string& path, const std::string& architecture,
                               std::span<const GgufAdapterLayer> layers,
                               const GgufHeads& heads = {}) {
  if (layers.empty()) throw ValueError("write_gguf_adapter: there are no layers to write");
  std::vector<std::vector<float>> values;
  values.reserve(2 * layers.size());
  std::vector<TensorEntry> entries;
  for (const GgufAdapterLayer& layer : layers) {
    detail::require_gguf_layer(layer);
    values.push_back(detail::gguf_a(layer));
    entries.push_back(detail::gguf_entry(layer.base_name + ".lora_a", values.back(),
                                         layer.embedding ? layer.in : layer.r));
    values.push_back(detail::gguf_b(layer, architecture, heads));
    entries.push_back(detail::gguf_entry(layer.base_name + ".lora_b", values.back(), layer.out));
  }
  write_gguf(path,
             {{"general.type", std::string("adapter")},
              {"general.architecture", architecture},
              {"adapter.type", std::string("lora")},
              {"adapter.lora.alpha", 0.0f}},
             std::move(entries));
}

}  // namespace lora::inline v0
