// SPDX-License-Identifier: MIT
// Writes a model of random weights in BF16, in two shards, and an adapter of rank 16 on all of its
// matrices:  merge_weights FOLDER [LAYERS]. 18 layers are 1.95 GB.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/io/adapter_file.hpp>
#include <lora/io/file.hpp>
#include <lora/io/float_formats.hpp>
#include <lora/io/safetensors_model.hpp>
#include <lora/random.hpp>

namespace {

constexpr lora::index_t kHidden = 2048, kInner = 5504, kVocabulary = 32000, kRank = 16;

struct Matrix {
  const char* name;
  lora::index_t out, in;
};

constexpr Matrix kMatrices[] = {
    {"self_attn.q_proj", kHidden, kHidden}, {"self_attn.k_proj", kHidden, kHidden},
    {"self_attn.v_proj", kHidden, kHidden}, {"self_attn.o_proj", kHidden, kHidden},
    {"mlp.gate_proj", kInner, kHidden},     {"mlp.up_proj", kInner, kHidden},
    {"mlp.down_proj", kHidden, kInner}};

// Every tensor is another part of the same numbers: a model need not fit into memory.
class Pool {
 public:
  Pool() : bits_(kVocabulary * kHidden + (1 << 20)) {
    std::vector<float> values(1 << 16);
    lora::PhiloxGenerator random(1);
    for (std::size_t at = 0; at < bits_.size(); ++at) {
      if (at % values.size() == 0) random.normal(std::span(values), 0.0, 0.02);
      bits_[at] = lora::float_to_bf16(values[at % values.size()]);
    }
  }

  lora::TensorEntry entry(std::string name, lora::index_t rows, lora::index_t cols) {
    next_ = (next_ + 4099) % (1 << 20);
    const auto count = static_cast<std::size_t>(rows * cols);
    return {std::move(name),
            "BF16",
            {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)},
            std::as_bytes(std::span(bits_).subspan(next_, count))};
  }

 private:
  std::vector<std::uint16_t> bits_;
  std::size_t next_ = 0;
};

void write(const std::string& folder, int layers) {
  Pool pool;
  lora::PhiloxGenerator random(2);
  lora::AdapterFile<float> adapter;
  adapter.config.r = kRank;
  adapter.config.lora_alpha = 2 * kRank;
  std::vector<std::string> targets;
  std::vector<lora::TensorEntry> entries{
      pool.entry("model.embed_tokens.weight", kVocabulary, kHidden)};
  std::uint64_t bytes = entries[0].data.size();
  for (int layer = 0; layer < layers; ++layer) {
    for (const Matrix& matrix : kMatrices) {
      const std::string path = "model.layers." + std::to_string(layer) + "." + matrix.name;
      entries.push_back(pool.entry(path + ".weight", matrix.out, matrix.in));
      bytes += entries.back().data.size();
      lora::AdapterLayer<float>& own = adapter.layers[path];
      own.lora_A = lora::Tensor<float>({kRank, matrix.in});
      own.lora_B = lora::Tensor<float>({matrix.out, kRank});
      random.normal(own.lora_A.span(), 0.0, 0.02);
      random.normal(own.lora_B.span(), 0.0, 0.02);
      if (layer == 0) targets.emplace_back(path.substr(path.rfind('.') + 1));
    }
  }
  adapter.config.target_modules = targets;
  lora::make_folder(folder + "/base");
  lora::write_safetensors_model(folder + "/base", std::move(entries), bytes / 2 + (64 << 20));
  lora::write_adapter_file(folder + "/adapter", adapter);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: merge_weights FOLDER [LAYERS]\n");
    return 1;
  }
  write(argv[1], argc > 2 ? std::atoi(argv[2]) : 18);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "merge_weights: %s\n", error.what());
  return 1;
}
