// SPDX-License-Identifier: MIT
#include "mnist_lora/study.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include <lora/data/gz.hpp>
#include <lora/detail/sha256.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
using mnist_lora::Settings;
using mnist_lora::Study;

namespace {

// Noise with a pattern for each class: enough to train on for a few batches.
lora::LabeledImages patterns(index_t count, std::uint64_t seed) {
  lora::LabeledImages set{Tensor<std::uint8_t>({count, 784}), Tensor<std::int32_t>({count})};
  Tensor<float> noise({count, 784});
  lora::PhiloxGenerator(seed).uniform(noise.span(), 0, 100);
  for (index_t i = 0; i < count; ++i) {
    set.labels[i] = static_cast<std::int32_t>(i % 10);
    for (index_t k = 0; k < 784; ++k) {
      const bool lit = k / 79 == i % 10;
      set.images(i, k) = static_cast<std::uint8_t>(noise(i, k) + (lit ? 150.0f : 0.0f));
    }
  }
  return set;
}

lora::Mnist pattern_set() { return {patterns(400, 1), patterns(100, 2), "patterns"}; }

std::string sha256(const Tensor<float>& x) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(x.data());
  return lora::detail::Sha256::hex({bytes, x.span().size_bytes()});
}

Settings small_settings() {
  Settings settings;
  settings.finetune_batches = 5;
  return settings;
}

}  // namespace

TEST_CASE("the study begins with PyTorch's weights, bit for bit", "[study][torch]") {
  // init_sha256 of PyTorch 1.13's own runs, seeds 0 and 1.
  const std::vector<std::vector<std::string>> expected{
#include "study_golden_init.inc"
  };
  const lora::Mnist data = pattern_set();
  for (std::size_t seed = 0; seed < expected.size(); ++seed) {
    Settings settings;
    settings.seed = seed;
    Study study(settings, data, true);
    const auto parameters = study.net().named_parameters();
    REQUIRE(parameters.size() == expected[seed].size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      INFO("seed " << seed << ", " << parameters[i].name);
      CHECK(sha256(parameters[i].parameter->value) == expected[seed][i]);
    }
  }
}

TEST_CASE("the study runs, learns its digits and passes its own checks", "[study]") {
  const lora::Mnist data = pattern_set();
  Study study(small_settings(), data, true);
  CHECK(study.result().base_parameters == 4250810);
  study.pretrain();
  study.evaluate_pretrained();
  CHECK(study.result().pretrained.count() == 100);
  CHECK(study.result().pretrain_loss.size() == 40);
  CHECK(study.result().pretrain_loss.back() < study.result().pretrain_loss.front());
  CHECK(study.adapt().size() == 8);
  CHECK(study.result().lora_parameters == 8394);
  study.finetune();
  CHECK(study.result().finetune_loss.size() == 5);
  CHECK(study.check().size() == 3);
  study.evaluate_lora_off();
  CHECK(study.result().lora_off.wrong == study.result().pretrained.wrong);
}

TEST_CASE("the study's check notices a changed weight", "[study][errors]") {
  const lora::Mnist data = pattern_set();
  Settings settings = small_settings();
  settings.limit_train = 20;
  Study study(settings, data, true);
  study.pretrain();
  study.adapt();
  study.finetune();
  study.net().parameters()[0]->value[123] += 1e-6f;
  CHECK_THROWS_WITH(study.check(), contains("linear1.weight has changed"));
}

TEST_CASE("the study's results do not depend on the number of threads", "[study][threads]") {
  const ThreadCountGuard guard;
  const lora::Mnist data = pattern_set();
  const auto losses = [&](int threads) {
    lora::set_num_threads(threads);
    Settings settings = small_settings();
    settings.limit_train = 50;
    Study study(settings, data, true);
    study.pretrain();
    study.adapt();
    study.finetune();
    std::vector<double> all = study.result().pretrain_loss;
    all.insert(all.end(), study.result().finetune_loss.begin(), study.result().finetune_loss.end());
    return all;
  };
  const auto one = losses(1);
  CHECK(losses(2) == one);
  CHECK(losses(3) == one);
}

TEST_CASE("a loss that is no number ends the study with the batch named", "[study][errors]") {
  const lora::Mnist data = pattern_set();
  Settings settings = small_settings();
  settings.lr = 1e30;
  Study study(settings, data, true);
  CHECK_THROWS_WITH(study.pretrain(), contains("pretraining: the loss is") && contains("at batch"));
}
