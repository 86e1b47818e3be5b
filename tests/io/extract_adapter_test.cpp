// SPDX-License-Identifier: MIT
#include <lora/io/extract_adapter.hpp>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::ExtractedAdapter;
using lora::ExtractOptions;
using lora::FileError;
using lora::SafetensorsModel;
using lora::ValueError;

namespace {

using Tensors = std::map<std::string, Tensor<float>>;

void write(const std::filesystem::path& path, const Tensors& tensors,
           const std::string& dtype = "F32") {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<lora::TensorEntry> entries;
  for (const auto& [name, value] : tensors) {
    entries.push_back(lora::tensor_entry(name, value));
    bytes.push_back(lora::detail::encode_elements<float>(dtype, value.span(), name));
    entries.back().dtype = dtype;
  }
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i].data = bytes[i];
  lora::write_safetensors(path, std::move(entries));
}

/// Two models of those tensors, and what is extracted from them.
ExtractedAdapter extract(const Tensors& base, const Tensors& tuned,
                         const ExtractOptions& options = {}, const std::string& dtype = "F32",
                         const std::string& tuned_dtype = "F32") {
  const TemporaryFolder folder;
  write(folder / "base.safetensors", base, dtype);
  write(folder / "tuned.safetensors", tuned, tuned_dtype);
  return lora::extract_adapter(SafetensorsModel(folder / "base.safetensors"),
                               SafetensorsModel(folder / "tuned.safetensors"), options);
}

/// w + the layer's change, in the shape of w.
Tensor<float> plus(const Tensor<float>& w, const lora::AdapterLayer<float>& layer) {
  const Tensor<double> change = delta(layer);
  Tensor<float> sum = w;
  for (index_t i = 0; i < w.numel(); ++i) sum[i] = static_cast<float>(double{w[i]} + change[i]);
  return sum;
}

/// Weights as a network has them.
Tensor<float> weight(Shape shape, std::uint64_t seed) {
  Tensor<float> w = random_tensor<float>(shape, seed);
  for (float& x : w.span()) x *= 0.1f;
  return w;
}

template <class T, class U>
Tensor<double> difference(const Tensor<T>& x, const Tensor<U>& y) {
  Tensor<double> z(x.shape());
  for (index_t i = 0; i < x.numel(); ++i) z[i] = double{x[i]} - double{y[i]};
  return z;
}

}  // namespace

TEST_CASE("a change of low rank is extracted and comes back", "[extract_adapter]") {
  const auto [out, in, rank] = GENERATE(
      table<int, int, int>({{48, 64, 4}, {1, 9, 1}, {9, 1, 1}, {33, 130, 7}, {129, 65, 16}}));
  const std::uint64_t seed = GENERATE(1u, 2u);
  INFO("W (" << out << ", " << in << "), rank " << rank << ", seed " << seed);
  Tensors base{{"block.linear.weight", weight({out, in}, seed)},
               {"same.weight", weight({3, 4}, 9)}};
  Tensors tuned = base;
  const auto layer = random_layer(out, in, rank, 0.1, seed + 10);
  tuned["block.linear.weight"] = plus(base["block.linear.weight"], layer);

  const ExtractedAdapter found = extract(base, tuned, {.rank = 16});
  REQUIRE(found.layers.size() == 1);
  CHECK(found.not_captured.empty());
  CHECK(found.layers[0].path == "block.linear");
  CHECK(found.layers[0].rank == rank);
  CHECK(found.layers[0].captured > 1 - 1e-6);
  CHECK(std::sqrt(found.layers[0].energy) ==
        Approx(distance(delta(layer), Tensor<double>({out, in}))).epsilon(1e-4));
  CHECK(found.adapter.config.r == rank);
  CHECK(found.adapter.config.lora_alpha == rank);
  CHECK(std::get<std::vector<std::string>>(found.adapter.config.target_modules) ==
        std::vector<std::string>{"block.linear"});
  const auto& extracted = found.adapter.layers.at("block.linear");
  CHECK(extracted.scale == 1);
  const Tensor<float> merged = plus(base["block.linear.weight"], extracted);
  CHECK(relative_distance(difference(merged, base["block.linear.weight"]),
                          difference(tuned["block.linear.weight"], base["block.linear.weight"])) <
        1e-5);
}

TEST_CASE("of a change of high rank the largest part is taken", "[extract_adapter]") {
  const auto [out, in] = GENERATE(table<int, int>({{20, 31}, {90, 70}}));
  INFO("W (" << out << ", " << in << ")");
  const std::vector<double> sigma{9, 5, 3, 2, 1, 0.5};
  const Tensor<double> change = with_spectrum(out, in, sigma, 3);
  const Tensors base{{"a.weight", Tensor<float>({out, in})}};
  const Tensors tuned{{"a.weight", convert<float>(change)}};
  const ExtractedAdapter found = extract(base, tuned, {.rank = 3});
  CHECK(found.layers[0].rank == 3);
  CHECK(found.layers[0].energy == Approx(120.25).epsilon(1e-5));
  CHECK(found.layers[0].captured == Approx(115 / 120.25).epsilon(1e-5));
  const double missing = distance(delta(found.adapter.layers.at("a")), change);
  CHECK(missing == Approx(std::sqrt(5.25)).epsilon(1e-4));
  CHECK(extract(base, tuned, {.rank = 6, .tolerance = 0.3}).layers[0].rank == 3);
}

TEST_CASE("layers of smaller ranks have a rank_pattern", "[extract_adapter]") {
  const Tensors base{{"m.a.weight", Tensor<float>({9, 8})},
                     {"m.b.weight", Tensor<float>({9, 8})},
                     {"m.c.weight", Tensor<float>({9, 8})}};
  const Tensors tuned{{"m.a.weight", convert<float>(with_spectrum(9, 8, {3, 2, 1, 1}, 1))},
                      {"m.b.weight", convert<float>(with_spectrum(9, 8, {3, 2}, 2))},
                      {"m.c.weight", convert<float>(with_spectrum(9, 8, {3, 2, 1}, 3))}};
  const ExtractedAdapter found = extract(base, tuned, {.rank = 3});
  CHECK(found.adapter.config.r == 3);
  CHECK(found.adapter.config.rank_pattern == std::map<std::string, int>{{"^m\\.b", 2}});
  CHECK(found.adapter.config.alpha_pattern == std::map<std::string, double>{{"^m\\.b", 2}});
}

TEST_CASE("embeddings and transposed weights have their own orientation", "[extract_adapter]") {
  const Tensor<float> change = convert<float>(with_spectrum(21, 12, {3, 2}, 5));
  const std::string path = GENERATE("model.embed_tokens", "h.0.c_attn", "model.linear");
  INFO(path);
  const Tensors base{{path + ".weight", Tensor<float>({21, 12})}};
  const ExtractedAdapter found =
      extract(base, {{path + ".weight", change}}, {.rank = 2, .fan_in_fan_out = {"c_attn"}});
  auto layer = found.adapter.layers.at(path);
  const bool is_linear = path == "model.linear";
  CHECK(layer.embedding == (path == "model.embed_tokens"));
  CHECK(found.adapter.config.fan_in_fan_out == (path == "h.0.c_attn"));
  CHECK(layer.lora_A.shape() == Shape{2, is_linear ? 12 : 21});
  CHECK(layer.lora_B.shape() == Shape{is_linear ? 21 : 12, 2});
  layer.embedding = !is_linear;
  CHECK(relative_distance(delta(layer), change) < 1e-5);
}

TEST_CASE("a convolution is extracted by its kernels as rows", "[extract_adapter]") {
  const auto layer = random_conv_layer(10, {3, 2, 5}, 3, 0.5, 4);
  const Tensors base{{"conv.weight", weight({10, 3, 2, 5}, 6)}};
  const Tensors tuned{{"conv.weight", plus(base.at("conv.weight"), layer)}};
  const ExtractedAdapter found = extract(base, tuned, {.rank = 5});
  const auto& extracted = found.adapter.layers.at("conv");
  CHECK(extracted.lora_A.shape() == Shape{3, 3, 2, 5});
  CHECK(extracted.lora_B.shape() == Shape{10, 3, 1, 1});
  CHECK(relative_distance(delta(extracted), delta(layer)) < 1e-5);
}

TEST_CASE("what is no weight is reported, what is equal is not", "[extract_adapter]") {
  Tensors base{{"a.weight", weight({4, 5}, 1)},        {"a.bias", weight({4}, 2)},
               {"norm.weight", weight({4}, 3)},        {"conv1d.weight", weight({4, 3, 2}, 4)},
               {"table", weight({4, 3}, 5)},           {"empty.weight", Tensor<float>({0, 5})},
               {"zeros.weight", Tensor<float>({2, 2})}};
  Tensors tuned = base;
  tuned["zeros.weight"][0] = -0.0f;
  tuned["table"][3] += 1;
  tuned["conv1d.weight"][3] += 1;
  tuned["norm.weight"][2] += 1;
  tuned["a.bias"][1] += 1;
  const ExtractedAdapter found = extract(base, tuned);
  CHECK(found.layers.empty());
  CHECK(found.adapter.layers.empty());
  CHECK(found.not_captured ==
        std::vector<std::string>{"a.bias", "conv1d.weight", "norm.weight", "table"});
}

TEST_CASE("models of other dtypes are compared by their values", "[extract_adapter]") {
  const std::string dtype = GENERATE("F16", "BF16", "F32");
  const std::string tuned_dtype = GENERATE("F16", "BF16", "F32");
  INFO(dtype << " and " << tuned_dtype);
  const Tensors base{{"a.weight", random_integers<float>({9, 7}, 1)},
                     {"b.weight", random_integers<float>({9, 7}, 2)},
                     {"b.bias", random_integers<float>({9}, 3)}};
  Tensors tuned = base;
  const Tensor<float> b = random_integers<float>({9, 2}, 4), a = random_integers<float>({2, 7}, 5);
  const Tensor<double> change = product(b, a);
  for (index_t i = 0; i < 63; ++i) tuned["a.weight"][i] += static_cast<float>(change[i]);
  const ExtractedAdapter found = extract(base, tuned, {.rank = 4}, dtype, tuned_dtype);
  REQUIRE(found.layers.size() == 1);
  CHECK(found.layers[0].rank == 2);
  CHECK(found.not_captured.empty());
  CHECK(relative_distance(delta(found.adapter.layers.at("a")), change) < 1e-5);
}

TEST_CASE("a module that a target would mean by its end alone is not meant", "[extract_adapter]") {
  Tensors base{{"head.weight", weight({4, 5}, 1)}, {"inner.head.weight", weight({4, 5}, 2)}};
  Tensors tuned = base;
  tuned["head.weight"][0] += 1;
  CHECK(std::get<std::string>(extract(base, tuned).adapter.config.target_modules) == "(head)");
}

TEST_CASE("models that do not fit, and bad values, are refused", "[extract_adapter][errors]") {
  const auto refuse = [](const Tensors& base, const Tensors& tuned, const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(extract(base, tuned), FileError);
    CHECK_THROWS_WITH(extract(base, tuned), contains(why));
  };
  const Tensors base{{"a.weight", weight({4, 5}, 1)}, {"b.weight", weight({4, 5}, 2)}};
  refuse(base, {{"a.weight", weight({4, 5}, 1)}, {"c.weight", weight({4, 5}, 2)}},
         "b.weight is in the first alone; c.weight is in the second alone");
  refuse(base, {{"a.weight", weight({5, 4}, 1)}, {"b.weight", weight({4, 5}, 2)}},
         "a.weight is [4,5] and [5,4]");
  Tensors many;
  for (int i = 0; i < 30; ++i) many["t" + std::to_string(i)] = Tensor<float>({1});
  refuse(many, {{"x", Tensor<float>({1})}}, "; and 11 more");
  Tensors bad = base;
  bad["b.weight"][3] = std::numeric_limits<float>::quiet_NaN();
  refuse(base, bad, "tuned.safetensors: tensor \"b.weight\" holds nan");
  refuse(bad, base, "base.safetensors: tensor \"b.weight\" holds nan");
  CHECK_THROWS_AS(extract(base, base, {.rank = 0}), ValueError);
  CHECK_THROWS_AS(extract(base, base, {.tolerance = 1}), ValueError);
  CHECK_THROWS_AS(extract(base, base, {.tolerance = std::nan("")}), ValueError);
}

TEST_CASE("an extracted adapter is read back from its folder", "[extract_adapter]") {
  const Tensors base{{"a.weight", weight({6, 5}, 1)}, {"wte.weight", weight({11, 5}, 2)}};
  Tensors tuned = base;
  for (auto& [name, w] : tuned) w = plus(w, random_layer(w.dim(0), w.dim(1), 3, 1, 7));
  const ExtractedAdapter found = extract(base, tuned, {.rank = 3});
  const TemporaryFolder folder;
  const std::string dtype = GENERATE("", "F32", "F16", "BF16");
  INFO(dtype);
  lora::write_adapter_file(folder / "adapter", found.adapter, dtype);
  const auto read = lora::read_adapter_file<float>(folder / "adapter");
  REQUIRE(read.layers.size() == 2);
  for (const auto& [path, layer] : read.layers) {
    INFO(path);
    CHECK(layer.embedding == (path == "wte"));
    CHECK(layer.scale == 1);
    const double limit = dtype == "F16" ? 2e-3 : dtype == "BF16" ? 2e-2 : 1e-7;
    CHECK(relative_distance(delta(layer), delta(found.adapter.layers.at(path))) < limit);
  }
}
