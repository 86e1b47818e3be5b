// SPDX-License-Identifier: MIT
#include "mnist_lora/study.hpp"

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include <lora/data/gz.hpp>
#include <lora/detail/sha256.hpp>
#include <lora/torch_generator.hpp>

#include "support/mnist_patterns.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::DataLoader;
using mnist_lora::Settings;
using mnist_lora::Study;

namespace {

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

TEST_CASE("the study's first batches and losses are PyTorch's", "[study][torch][data]") {
  const char* folder = std::getenv("LORA_DATA_DIR");
  if (!folder) {
    WARN("LORA_DATA_DIR is not set: the study is not compared with PyTorch on the real MNIST");
    return;
  }
  // PyTorch 1.13's own runs: the samples of the first batches, the first loss, and the mean of the
  // first hundred. Rounding differs from the first product on, and Adam amplifies it.
  struct Golden {
    std::vector<index_t> pretrain, finetune;
    double first_loss, mean_loss;
  };
  const Golden golden[] = {{{55925, 51229, 57997, 28750, 35837, 10850, 4101, 42816, 26127, 27748},
                            {11220, 16962, 23489, 10290, 16902, 20240, 13796, 13666, 7786, 20749},
                            2.3225255,
                            1.0706983},
                           {{12148, 1191, 4950, 50097, 31429, 36500, 10680, 11640, 26600, 52899},
                            {14261, 20353, 9162, 10531, 18161, 3242, 2266, 7881, 357, 17829},
                            2.3073246,
                            1.0289176}};
  lora::Mnist data = lora::load_mnist(folder, lora::GzReader{});
  data.test = lora::take_first(data.test, 100);
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    INFO("seed " << seed);
    const Golden& expected = golden[seed];

    // The generator's state after a pass does not depend on how many samples were shuffled.
    Settings settings;
    settings.seed = seed;
    settings.limit_train = 10;
    settings.finetune_batches = 1;
    Study study(settings, data, true);
    lora::TorchGenerator generator(seed);
    for (const auto* parameter : study.net().parameters()) {
      Tensor<float> drawn(parameter->value.shape());
      generator.uniform(drawn.span(), 0, 1);
    }
    DataLoader<float> loader(data.train, 10);
    loader.shuffle(generator);
    CHECK(std::vector<index_t>(loader.order().begin(), loader.order().begin() + 10) ==
          expected.pretrain);
    std::vector<double> losses;
    lora::Adam<float> adam(study.net().parameters());
    lora::Saved<float> saved;
    Tensor<float> dlogits;
    for (index_t i = 0; i < 100; ++i) {
      const auto& [images, labels] = loader.batch(i);
      losses.push_back(
          lora::softmax_cross_entropy(study.net().forward(images, saved), labels, dlogits));
      study.net().backward(dlogits, saved);
      adam.step();
    }
    CHECK(losses[0] == approx(expected.first_loss).margin(1e-5));
    const double mean = std::accumulate(losses.begin(), losses.end(), 0.0) / 100;
    CHECK(mean == approx(expected.mean_loss).epsilon(0.01));

    Study again(settings, data, true);
    again.pretrain();
    again.evaluate_pretrained();
    again.adapt();
    again.finetune();
    CHECK(again.result().finetune_first_batch == expected.finetune);
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

TEST_CASE("a saved study goes on as if it had just been trained", "[study]") {
  const TemporaryFolder folder;
  const lora::Mnist data = pattern_set();
  Settings settings = small_settings();
  settings.limit_train = 50;
  Study study(settings, data, true);
  study.pretrain();
  study.evaluate_pretrained();
  study.adapt();
  study.finetune();
  study.evaluate_lora_on();
  study.save(folder.path());

  Study loaded(settings, data, true);
  loaded.load_pretrained(folder.path());
  loaded.evaluate_pretrained();
  CHECK(loaded.result().pretrained.predictions == study.result().pretrained.predictions);
  loaded.adapt();
  loaded.finetune();  // the same batches as after pretraining
  CHECK(loaded.result().finetune_loss == study.result().finetune_loss);
  loaded.load_adapter(folder.path());
  loaded.evaluate_lora_on();
  CHECK(loaded.result().lora_on.predictions == study.result().lora_on.predictions);
  CHECK(loaded.check().size() == 3);
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
