// SPDX-License-Identifier: MIT
#include <lora/io/gguf_adapter.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::GgufAdapterLayer;
using lora::GgufFile;
using lora::ValueError;

namespace {

const std::vector<float> kA{1, 2, 3, 4, 5, 6};        // (2, 3)
const std::vector<float> kB{1, 2, 3, 4, 5, 6, 7, 8};  // (4, 2)

GgufAdapterLayer layer(const std::string& name, double scale = 1) {
  return {name, kA, kB, 2, 3, 4, scale};
}

void write(const std::string& path, const GgufAdapterLayer& layer,
           const std::string& architecture = "qwen2", const lora::GgufHeads& heads = {}) {
  lora::write_gguf_adapter(path, architecture, std::vector{layer}, heads);
}

}  // namespace

TEST_CASE("Hugging Face's module paths have these names in GGUF", "[gguf]") {
  using lora::gguf_base_name;
  for (const char* architecture : {"llama", "qwen2"}) {
    for (const std::string prefix : {"", "model."}) {
      INFO(architecture << " " << prefix);
      const auto name = [&](const std::string& path) {
        return gguf_base_name(architecture, prefix + path);
      };
      CHECK(name("layers.0.self_attn.q_proj") == "blk.0.attn_q.weight");
      CHECK(name("layers.1.self_attn.k_proj") == "blk.1.attn_k.weight");
      CHECK(name("layers.9.self_attn.v_proj") == "blk.9.attn_v.weight");
      CHECK(name("layers.12.self_attn.o_proj") == "blk.12.attn_output.weight");
      CHECK(name("layers.3.mlp.gate_proj") == "blk.3.ffn_gate.weight");
      CHECK(name("layers.3.mlp.up_proj") == "blk.3.ffn_up.weight");
      CHECK(name("layers.3.mlp.down_proj") == "blk.3.ffn_down.weight");
      CHECK(name("embed_tokens") == "token_embd.weight");
      CHECK(name("lm_head") == "output.weight");
    }
  }
  for (const char* path : {"linear1", "model.layers.self_attn.q_proj", "layers.1a.mlp.up_proj",
                           "layers.1", "layers.", "model.layers.1.mlp.up_proj.x", ""}) {
    CHECK(gguf_base_name("llama", path) == std::string(path) + ".weight");
  }
  CHECK(gguf_base_name("gpt2", "model.layers.0.self_attn.q_proj") ==
        "model.layers.0.self_attn.q_proj.weight");
}

TEST_CASE("rows change places as the halves of a head interleave", "[gguf]") {
  // Two heads of four rows: (0 1 | 2 3) becomes (0 2 1 3).
  const std::vector<float> rows{0, 1, 2, 3, 4, 5, 6, 7};
  CHECK(lora::permute_rope_rows(rows, 8, 1, 2) == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(lora::permute_rope_rows(rows, 8, 1, 1) == std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7});
  CHECK(lora::permute_rope_rows(rows, 8, 1, 4) == rows);
  CHECK(lora::permute_rope_rows(rows, 4, 2, 1) == std::vector<float>{0, 1, 4, 5, 2, 3, 6, 7});
  CHECK_THROWS_AS(lora::permute_rope_rows(rows, 8, 1, 3), lora::ShapeError);
  CHECK_THROWS_AS(lora::permute_rope_rows(rows, 8, 1, 8), lora::ShapeError);
  CHECK_THROWS_AS(lora::permute_rope_rows(rows, 8, 1, 0), lora::ShapeError);
  CHECK_THROWS_AS(lora::permute_rope_rows(rows, 8, 2, 2), lora::ShapeError);
}

TEST_CASE("an adapter for llama.cpp has its metadata, names and sizes", "[gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  write(path, layer("blk.0.ffn_up.weight"));
  const GgufFile file(path);
  CHECK(file.metadata().size() == 4);
  CHECK(file.value<std::string>("general.type") == "adapter");
  CHECK(file.value<std::string>("general.architecture") == "qwen2");
  CHECK(file.value<std::string>("adapter.type") == "lora");
  CHECK(file.value<float>("adapter.lora.alpha") == 0);
  CHECK(file.tensors().size() == 2);
  CHECK(same_bits(file.read<float>("blk.0.ffn_up.weight.lora_a"), Tensor<float>({2, 3}, kA)));
  CHECK(same_bits(file.read<float>("blk.0.ffn_up.weight.lora_b"), Tensor<float>({4, 2}, kB)));
}

TEST_CASE("each layer's scale is in its B", "[gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  const double scale = 8 / std::sqrt(3.0);
  lora::write_gguf_adapter(path, "qwen2",
                           std::vector{layer("x.weight", scale), layer("y.weight", -0.5)});
  const GgufFile file(path);
  const auto x = file.read<float>("x.weight.lora_b"), y = file.read<float>("y.weight.lora_b");
  for (index_t i = 0; i < 8; ++i) {
    const float b = kB[static_cast<std::size_t>(i)];
    CHECK(x[i] == static_cast<float>(scale * double{b}));
    CHECK(y[i] == -0.5f * b);
  }
  CHECK(same_bits(file.read<float>("x.weight.lora_a"), Tensor<float>({2, 3}, kA)));
}

TEST_CASE("the A of the token embedding is written transposed", "[gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  GgufAdapterLayer embedding = layer("token_embd.weight");
  CHECK_THROWS_WITH(write(path, embedding), contains("is the name of an embedding"));
  embedding.embedding = true;
  write(path, embedding);
  const GgufFile file(path);
  CHECK(same_bits(file.read<float>("token_embd.weight.lora_a"),
                  Tensor<float>({3, 2}, {1, 4, 2, 5, 3, 6})));
  CHECK(same_bits(file.read<float>("token_embd.weight.lora_b"), Tensor<float>({4, 2}, kB)));
  embedding.base_name = "wte.weight";
  CHECK_THROWS_WITH(write(path, embedding), contains("expected the name token_embd.weight"));
}

TEST_CASE("a llama's queries and keys are permuted by their heads, nothing else is", "[gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  const std::string query = "blk.0.attn_q.weight", key = "blk.0.attn_k.weight",
                    other = "blk.0.attn_v.weight";
  lora::write_gguf_adapter(path, "llama", std::vector{layer(query), layer(key), layer(other)},
                           {.heads = 1, .kv_heads = 2});
  const Tensor<float> b({4, 2}, kB), permuted({4, 2}, {1, 2, 5, 6, 3, 4, 7, 8});
  const GgufFile file(path);
  CHECK(same_bits(file.read<float>(query + ".lora_b"), permuted));
  CHECK(same_bits(file.read<float>(key + ".lora_b"), b));
  CHECK(same_bits(file.read<float>(other + ".lora_b"), b));
  CHECK(same_bits(file.read<float>(query + ".lora_a"), Tensor<float>({2, 3}, kA)));
  write(path, layer(query), "qwen2", {.heads = 1, .kv_heads = 1});
  CHECK(same_bits(GgufFile(path).read<float>(query + ".lora_b"), b));

  CHECK_THROWS_WITH(write(path, layer(query), "llama"), contains("change places by heads"));
  CHECK_THROWS_AS(write(path, layer(query), "llama", {.heads = 0, .kv_heads = 1}), ValueError);
  CHECK_THROWS_AS(write(path, layer(key), "llama", {.heads = 1, .kv_heads = 0}), ValueError);
  CHECK_THROWS_AS(write(path, layer(key), "llama", {.heads = 1, .kv_heads = 3}), lora::ShapeError);
  write(path, layer(other), "llama");
}

TEST_CASE("an adapter that is not finite or does not fit is refused", "[gguf][errors]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  constexpr double kInf = std::numeric_limits<double>::infinity();
  std::vector<float> bad = kA;
  bad[2] = NAN;
  GgufAdapterLayer x = layer("x.weight");
  x.a = bad;
  CHECK_THROWS_WITH(write(path, x), contains("x.weight: A has a value that is not finite"));
  bad = kB;
  bad[7] = INFINITY;
  x = layer("x.weight");
  x.b = bad;
  CHECK_THROWS_WITH(write(path, x), contains("B times the scale"));
  CHECK_THROWS_WITH(write(path, layer("x.weight", 1e39)), contains("B times the scale"));
  CHECK_THROWS_WITH(write(path, layer("x.weight", kInf)), contains("the scale is not finite"));
  x = layer("x.weight");
  x.r = 3;
  CHECK_THROWS_WITH(write(path, x), contains("expected A of 3 x 3 and B of 4 x 3 values"));
  x.r = 0;
  CHECK_THROWS_AS(write(path, x), ValueError);
  x.r = std::numeric_limits<index_t>::max();
  CHECK_THROWS_AS(write(path, x), ValueError);
  CHECK_THROWS_AS(write(path, layer(std::string(57, 'n'))), ValueError);
  CHECK_THROWS_AS(write(path, layer("")), ValueError);
  CHECK_THROWS_AS(lora::write_gguf_adapter(path, "llama", {}), ValueError);
  CHECK_THROWS_WITH(
      lora::write_gguf_adapter(path, "qwen2", std::vector{layer("x.weight"), layer("x.weight")}),
      contains("\"x.weight.lora_a\" twice"));
  CHECK_FALSE(std::filesystem::exists(path));
}
