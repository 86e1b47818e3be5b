// SPDX-License-Identifier: MIT
#include <lora/io/checkpoint.hpp>

#include "support/models.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;

TEST_CASE("a saved model gives the same output when loaded", "[checkpoint]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1), other = small_net<float>(2);
  const auto x = random_tensor<float>({5, 7}, 3);
  REQUIRE_FALSE(same_bits(net.forward(x), other.forward(x)));
  lora::save_model(net, folder / "model.safetensors");
  lora::load_model(other, folder / "model.safetensors");
  CHECK(same_bits(net.forward(x), other.forward(x)));
}

TEST_CASE("an adapted model saves its base, which a plain model can load", "[checkpoint]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1), plain = small_net<float>(2);
  const auto x = random_tensor<float>({5, 7}, 3);
  const Tensor<float> base = net.forward(x);
  lora::adapt(net, {.r = 2});
  randomize_adapters(net, 4);
  lora::save_model(net, folder / "model.safetensors");
  lora::load_model(plain, folder / "model.safetensors");
  CHECK(same_bits(plain.forward(x), base));
}

TEST_CASE("a saved adapter gives the same output when loaded", "[checkpoint]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1), other = small_net<float>(1);
  const auto x = random_tensor<float>({5, 7}, 3);
  lora::adapt(net, {.r = 2});
  lora::adapt(other, {.r = 2, .seed = 9});
  randomize_adapters(net, 4);
  lora::save_adapter(net, folder / "adapter.safetensors");
  lora::load_adapter(other, folder / "adapter.safetensors");
  CHECK(same_bits(net.forward(x), other.forward(x)));
  const lora::SafetensorsFile file(folder / "adapter.safetensors");
  CHECK(file.tensors().size() == 4);
  CHECK(file.tensors().count("base_model.model.linear1.lora_A.weight") == 1);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
}

TEST_CASE("everything that an adapter learns is saved under PEFT's names", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto names_of = [&](const lora::LoRAConfig& config) {
    auto net = small_net<float>(1), other = small_net<float>(1);
    lora::adapt(net, config, "mine");
    lora::adapt(other, config, "yours");
    lora::PhiloxGenerator generator(2);
    for (const auto& named : lora::adapter_parameters(net, "mine")) {
      generator.normal(named.parameter->value.span(), 1.0, 0.5);
    }
    lora::save_adapter(net, folder / "adapter", "mine");
    lora::load_adapter(other, folder / "adapter", "yours");
    const auto x = random_tensor<float>({5, 7}, 3);
    CHECK(same_bits(net.forward(x), other.forward(x)));
    const lora::SafetensorsFile file(folder / "adapter");
    std::vector<std::string> names;
    for (const auto& entry : file.tensors()) names.push_back(entry.first);
    return names;
  };
  const std::string prefix = "base_model.model.";
  CHECK(names_of({.r = 2, .target_modules = {"linear1"}, .use_dora = true}) ==
        std::vector<std::string>{prefix + "linear1.lora_A.weight", prefix + "linear1.lora_B.weight",
                                 prefix + "linear1.lora_magnitude_vector"});
  CHECK(names_of({.r = 2,
                  .target_modules = {"linear1"},
                  .bias = lora::LoRABias::lora_only,
                  .lora_bias = true,
                  .modules_to_save = {"linear2"}}) ==
        std::vector<std::string>{prefix + "linear1.base_layer.bias",
                                 prefix + "linear1.lora_A.weight", prefix + "linear1.lora_B.bias",
                                 prefix + "linear1.lora_B.weight", prefix + "linear2.bias",
                                 prefix + "linear2.weight"});
  CHECK(names_of({.r = 2, .target_modules = {"linear1"}, .bias = lora::LoRABias::all}) ==
        std::vector<std::string>{prefix + "linear1.base_layer.bias",
                                 prefix + "linear1.lora_A.weight", prefix + "linear1.lora_B.weight",
                                 prefix + "linear2.bias"});
}

TEST_CASE("loading what does not fit lists everything and changes nothing",
          "[checkpoint][errors]") {
  const TemporaryFolder folder;
  lora::PhiloxGenerator generator(1);
  lora::Sequential<float> saved;
  saved.add("linear1", lora::Linear<float>(7, 5, generator));
  saved.add("linear3", lora::Linear<float>(5, 4, generator, false));
  lora::save_model(saved, folder / "model");
  auto net = small_net<float>(1);
  const auto before = net.parameters()[0]->value;
  CHECK_THROWS_WITH(lora::load_model(net, folder / "model"),
                    contains("linear1.weight has shape (5, 7), expected (6, 7)") &&
                        contains("missing linear2.weight") &&
                        contains("unexpected linear3.weight"));
  CHECK(same_bits(net.parameters()[0]->value, before));
}

TEST_CASE("loading another element type is refused", "[checkpoint][errors]") {
  const TemporaryFolder folder;
  auto net = small_net<double>(1);
  lora::save_model(net, folder / "model");
  auto other = small_net<float>(1);
  CHECK_THROWS_WITH(lora::load_model(other, folder / "model"), contains("is F64, expected F32"));
}

TEST_CASE("merged adapters are neither saved nor loaded", "[checkpoint][errors]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1);
  lora::adapt(net, {.r = 2});
  lora::save_model(net, folder / "model");
  lora::save_adapter(net, folder / "adapter");
  lora_layer(net, 1).merge();
  CHECK_THROWS_WITH(lora::save_model(net, folder / "model"),
                    contains("the adapter of linear2 is merged"));
  CHECK_THROWS_AS(lora::load_model(net, folder / "model"), lora::ValueError);
  CHECK_THROWS_AS(lora::load_adapter(net, folder / "adapter"), lora::ValueError);
}

TEST_CASE("a model without adapters has none to save or load", "[checkpoint][errors]") {
  const TemporaryFolder folder;
  auto net = small_net<float>(1);
  CHECK_THROWS_WITH(lora::save_adapter(net, folder / "a"), contains("the model has no adapter"));
  CHECK_THROWS_AS(lora::load_adapter(net, folder / "a"), lora::ValueError);
}
