// SPDX-License-Identifier: MIT
#include <lora/io/kohya_adapter.hpp>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::AdapterFile;
using lora::FileError;
using lora::FlattenedModules;
using lora::SafetensorsModel;

namespace {

using Tensors = std::map<std::string, Tensor<float>>;

void write(const std::string& path, const Tensors& tensors) {
  std::vector<lora::TensorEntry> entries;
  for (const auto& [name, value] : tensors) entries.push_back(lora::tensor_entry(name, value));
  lora::write_safetensors(path, std::move(entries));
}

AdapterFile<float> read(const Tensors& tensors, const FlattenedModules* base = nullptr,
                        const std::string& prefix = {}) {
  const TemporaryFolder folder;
  write(folder / "kohya.safetensors", tensors);
  return lora::read_kohya_adapter<float>(folder / "kohya.safetensors", base, prefix);
}

FlattenedModules modules(const Tensors& tensors) {
  const TemporaryFolder folder;
  write(folder / "model.safetensors", tensors);
  return FlattenedModules(SafetensorsModel(folder / "model.safetensors"));
}

void put(Tensors& tensors, const std::string& name, const lora::AdapterLayer<float>& layer) {
  tensors[name + ".lora_down.weight"] = layer.lora_A;
  tensors[name + ".lora_up.weight"] = layer.lora_B;
  tensors[name + ".alpha"] = Tensor<float>({}, {static_cast<float>(layer.lora_alpha)});
}

}  // namespace

TEST_CASE("kohya's down, up and alpha are A, B and alpha", "[kohya_adapter]") {
  Tensors tensors;
  const auto linear = random_layer(7, 5, 4, 0.25, 1);
  const auto conv = random_conv_layer(6, {3, 2, 2}, 3, 2.0, 2);
  put(tensors, "lora_unet_mid_block_to_q", linear);
  put(tensors, "lora_unet_conv_in", conv);
  put(tensors, "lora_te_text_fc1", random_layer(4, 3, 2, 1, 3));
  put(tensors, "lora_te_text_fc2", random_layer(4, 3, 2, 1, 4));
  tensors.erase("lora_te_text_fc1.alpha");
  tensors["lora_te_text_fc2.alpha"] = Tensor<float>({1});
  const AdapterFile<float> file = read(tensors);
  REQUIRE(file.layers.size() == 4);
  const auto& q = file.layers.at("lora_unet_mid_block_to_q");
  CHECK(same_bits(q.lora_A, linear.lora_A));
  CHECK(same_bits(q.lora_B, linear.lora_B));
  CHECK(q.lora_alpha == 1);
  CHECK(q.scale == 0.25);
  CHECK(file.layers.at("lora_unet_conv_in").scale == 2);
  CHECK(file.layers.at("lora_te_text_fc1").scale == 1);
  CHECK(file.layers.at("lora_te_text_fc2").scale == 1);
  CHECK(file.config.r == 2);
  CHECK(file.config.lora_alpha == 2);
  CHECK(file.config.rank_pattern ==
        std::map<std::string, int>{{"^lora_unet_conv_in", 3}, {"^lora_unet_mid_block_to_q", 4}});
  CHECK(file.config.alpha_pattern ==
        std::map<std::string, double>{{"^lora_unet_conv_in", 6}, {"^lora_unet_mid_block_to_q", 1}});
  CHECK(read(tensors, nullptr, "lora_te_").layers.size() == 2);
}

TEST_CASE("an alpha that is a whole number", "[kohya_adapter]") {
  const auto layer = random_layer(7, 5, 4, 1, 1);
  const Tensor<std::int64_t> alpha({}, {2});
  const TemporaryFolder folder;
  const std::string path = folder / "kohya.safetensors";
  lora::write_safetensors(path, {lora::tensor_entry("a.lora_down.weight", layer.lora_A),
                                 lora::tensor_entry("a.lora_up.weight", layer.lora_B),
                                 lora::tensor_entry("a.alpha", alpha)});
  CHECK(lora::read_kohya_adapter<double>(path).layers.at("a").scale == 0.5);
}

TEST_CASE("a base tells dots from underscores", "[kohya_adapter]") {
  const FlattenedModules base = modules({{"unet.mid_block.attn.to_q.weight", Tensor<float>({7, 5})},
                                         {"unet.mid_block.attn.to_q.bias", Tensor<float>({7})},
                                         {"unet.proj_in.weight", Tensor<float>({6, 5, 1, 1})},
                                         {"unet.proj_out.weight", Tensor<float>({5, 6})},
                                         {"a.b_c.weight", Tensor<float>({2, 2})},
                                         {"a_b.c.weight", Tensor<float>({2, 2})},
                                         {"x.y.weight", Tensor<float>({2, 2})},
                                         {"z.x.y.weight", Tensor<float>({2, 2})}});
  CHECK(base.find("unet_mid_block_attn_to_q")->path == "unet.mid_block.attn.to_q");
  CHECK(base.find("mid_block_attn_to_q")->path == "unet.mid_block.attn.to_q");
  CHECK(base.find("block_attn_to_q") == nullptr);
  CHECK(base.find("x_y")->path == "x.y");
  CHECK_THROWS_AS(base.find("a_b_c"), lora::ValueError);

  Tensors tensors;
  put(tensors, "lora_unet_mid_block_attn_to_q", random_layer(7, 5, 4, 1, 1));
  // A matrix for a kernel of one point, and the other way round.
  put(tensors, "lora_unet_proj_in", random_layer(6, 5, 4, 1, 2));
  put(tensors, "lora_unet_proj_out", random_conv_layer(5, {6, 1, 1}, 4, 1, 3));
  const AdapterFile<float> file = read(tensors, &base);
  CHECK(file.layers.at("unet.mid_block.attn.to_q").lora_A.shape() == Shape{4, 5});
  CHECK(file.layers.at("unet.proj_in").lora_A.shape() == Shape{4, 5, 1, 1});
  CHECK(file.layers.at("unet.proj_in").lora_B.shape() == Shape{6, 4, 1, 1});
  CHECK(file.layers.at("unet.proj_out").lora_B.shape() == Shape{5, 4});

  const auto refuse = [&](const Tensors& bad, const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(read(bad, &base), FileError);
    CHECK_THROWS_WITH(read(bad, &base), contains(why));
  };
  tensors.clear();
  put(tensors, "lora_te_nothing", random_layer(7, 5, 4, 1, 1));
  refuse(tensors, "lora_te_nothing is no module of the base");
  tensors.clear();
  put(tensors, "lora_unet_a_b_c", random_layer(2, 2, 1, 1, 1));
  refuse(tensors, "a_b_c may be a.b_c or a_b.c");
  tensors.clear();
  put(tensors, "lora_unet_proj_out", random_layer(6, 5, 4, 1, 2));
  refuse(tensors, "do not fit the weight (5, 6) of unet.proj_out");
  tensors.clear();
  put(tensors, "lora_unet_x_y", random_layer(2, 2, 1, 1, 1));
  put(tensors, "lora_te_x_y", random_layer(2, 2, 1, 1, 1));
  refuse(tensors, "x.y is there twice");
}

TEST_CASE("files that are not whole or hold more are refused", "[kohya_adapter][errors]") {
  Tensors good;
  put(good, "lora_unet_a", random_layer(7, 5, 4, 1, 1));
  CHECK(read(good).layers.size() == 1);
  const auto refuse = [](const Tensors& bad, const std::string& why) {
    INFO(why);
    CHECK_THROWS_AS(read(bad), FileError);
    CHECK_THROWS_WITH(read(bad), contains(why));
  };
  const auto with = [&](const std::string& key, Tensor<float> value) {
    Tensors tensors = good;
    tensors["lora_unet_a." + key] = std::move(value);
    return tensors;
  };
  const float inf = std::numeric_limits<float>::infinity();
  refuse({}, "there is no lora_down");
  refuse(with("lora_mid.weight", Tensor<float>({4, 4, 3, 3})), "makes a product of three");
  refuse(with("dora_scale", Tensor<float>({7, 1})), "is of a DoRA that is not PEFT's");
  refuse(with("hada_w1_a", Tensor<float>({7, 1})), "is unexpected");
  refuse(with("alpha", Tensor<float>({2})), "has shape [2], expected one number");
  refuse(with("alpha", Tensor<float>({}, {inf})), "alpha is not finite");
  refuse(with("lora_up.weight", Tensor<float>({7, 3})), "are no A and B of one product");
  refuse(with("lora_up.weight", Tensor<float>({7, 4, 1, 1})), "are no A and B of one product");
  refuse(with("lora_up.weight", Tensor<float>({4})), "are no A and B of one product");
  refuse(with("lora_down.weight", Tensor<float>({1, 1}, {inf})), "is not finite");
  Tensors half = good;
  half.erase("lora_unet_a.lora_up.weight");
  refuse(half, "lora_unet_a has no lora_up");
  half = good;
  half.erase("lora_unet_a.lora_down.weight");
  refuse(half, "lora_unet_a has no lora_down");
  CHECK_THROWS_WITH(read(good, nullptr, "lora_te_"), contains("no lora_down behind lora_te_"));
}
