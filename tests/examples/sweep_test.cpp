// SPDX-License-Identifier: MIT
#include "mnist_lora/sweep.hpp"

#include <string>
#include <vector>

#include "mnist_lora/charts.hpp"
#include "mnist_lora/json_output.hpp"
#include "mnist_lora/options.hpp"
#include "mnist_lora/pictures.hpp"
#include "mnist_lora/replay.hpp"
#include "mnist_lora/report.hpp"
#include "mnist_lora/variant.hpp"
#include "support/mnist_patterns.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using namespace mnist_lora;

namespace {

Settings short_settings() {
  Settings settings;
  settings.limit_train = 100;
  settings.finetune_batches = 4;
  return settings;
}

// Two values over two seeds, with errors that are easily summed up.
Sweep sample_sweep() {
  Sweep sweep("rank", {"1", "2"});
  for (std::size_t row = 0; row < 2; ++row) {
    for (const int seed : {0, 1}) {
      StudyResult result;
      result.data_name = "MNIST";
      result.lora_parameters = 8394;
      result.finetune_seconds = 0.5;
      result.pretrain_loss = {1.0};
      result.finetune_loss = {0.5};
      result.pretrained.total.fill(100);
      result.lora_on.total.fill(100);
      result.pretrained.wrong[3] = 20 + 2 * seed;
      result.lora_on.wrong[6] = 10 + static_cast<int>(row);
      result.lora_on.wrong[0] = 40;
      sweep.add(row, result);
    }
  }
  return sweep;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("without replay, fine-tuning draws from the target digits as they come", "[replay]") {
  const lora::Mnist data = pattern_set();
  const Settings settings;
  const lora::LabeledImages set = finetuning_set(data.train, settings);
  const lora::LabeledImages targets = lora::filter_digits(data.train, settings.digits);
  CHECK(set.size() == 160);
  CHECK(same_bits(set.labels, targets.labels));
  CHECK(same_bits(set.images, targets.images));
}

TEST_CASE("replay adds other digits up to their share, each image once", "[replay]") {
  const lora::Mnist data = pattern_set();  // 160 images of target digits, 240 of others
  Settings settings;
  settings.seed = 7;
  for (const auto& [share, others] :
       std::vector<std::pair<double, index_t>>{{0.2, 40}, {0.5, 160}, {0.01, 2}, {0.6, 240}}) {
    settings.replay = share;
    INFO("share " << share);
    const lora::LabeledImages set = finetuning_set(data.train, settings);
    CHECK(set.size() == 160 + others);
    index_t targets = 0;
    for (index_t i = 0; i < set.size(); ++i) targets += is_target(settings, set.labels[i]);
    CHECK(targets == 160);
    // What is left out of `train` makes the set, in its order: so no image is there twice.
    index_t next = 0;
    for (index_t i = 0; i < data.train.size() && next < set.size(); ++i) {
      bool same = set.labels[next] == data.train.labels[i];
      for (index_t k = 0; k < 784 && same; ++k) {
        same = set.images(next, k) == data.train.images(i, k);
      }
      next += same;
    }
    CHECK(next == set.size());
  }
}

TEST_CASE("replay takes the same images for a seed, and others for another", "[replay]") {
  const lora::Mnist data = pattern_set();
  Settings settings;
  settings.replay = 0.3;
  const auto images = [&](std::uint64_t seed) {
    settings.seed = seed;
    return finetuning_set(data.train, settings).images;
  };
  CHECK(same_bits(images(3), images(3)));
  CHECK_FALSE(same_bits(images(3), images(4)));
  settings.replay = 0.7;
  CHECK_THROWS_WITH(finetuning_set(data.train, settings),
                    contains("0.7 takes 373 images of other digits") && contains("at most 0.6"));
}

TEST_CASE("the configuration of the adapters is what the settings say", "[variant]") {
  Settings settings;
  CHECK(lora_config(settings).init_lora_weights.kind == lora::LoRAInit::standard_normal);
  CHECK(lora_config(settings).rank_pattern.empty());
  settings.rank = 16;
  settings.use_rslora = settings.use_dora = true;
  settings.lora_dropout = 0.25;
  settings.init = "kaiming";
  const lora::LoRAConfig config = lora_config(settings);
  CHECK(config.use_rslora);
  CHECK(config.use_dora);
  CHECK(config.lora_dropout == 0.25);
  CHECK(config.init_lora_weights.kind == lora::LoRAInit::kaiming_uniform);
  CHECK(config.at("linear3").r == 16);
  CHECK(config.at("linear4").r == 10);
  CHECK_THAT(variant_text(settings), contains("rank 16") && contains("rank 10 on the last layer") &&
                                         contains("DoRA") && contains("rsLoRA"));
  settings.init = "lora_ga";
  CHECK(lora_config(settings).at("linear4").r == 5);
  for (const char* name : {"", "uniform", "pissa_niter_", "pissa_niter_0", "pissa_niter_4x"}) {
    CHECK_THROWS_WITH(init_of(name), contains("is no initialisation; there are: normal, kaiming"));
  }
  CHECK(init_of("pissa_niter_4").iterations == 4);
}

TEST_CASE("every variant of the study trains and passes the study's check", "[study][variant]") {
  const lora::Mnist data = pattern_set();
  Study pretrained(short_settings(), data, true);
  pretrained.pretrain();
  pretrained.evaluate_pretrained();
  const auto run = [&](const std::vector<std::pair<std::string, std::string>>& flags) {
    Settings settings = short_settings();
    std::string name;
    for (const auto& [key, value] : flags) {
      settings = with_value(settings, key, value);
      name += key + "=" + value + " ";
    }
    INFO(name);
    Study study(pretrained, settings);
    study.adapt();
    study.finetune();
    CHECK(study.check().size() == 3);
    study.evaluate_lora_off();
    CHECK(study.result().lora_off.predictions == pretrained.result().pretrained.predictions);
    return study.result();
  };
  const StudyResult plain = run({});
  CHECK(plain.lora_parameters == 8394);
  CHECK(run({{"rank", "12"}}).lora_parameters == 12 * 7084 + 10 * 1310);
  CHECK(run({{"use-dora", "1"}}).lora_parameters == 8394 + 3810);
  CHECK(run({{"use-rslora", "1"}, {"rank", "4"}}).finetune_loss != plain.finetune_loss);
  CHECK(run({{"replay", "0.5"}}).finetune_loss != plain.finetune_loss);
  CHECK(run({{"loraplus-lr-ratio", "16"}}).finetune_loss != plain.finetune_loss);
  CHECK(run({{"lora-dropout", "0.5"}}).finetune_loss != plain.finetune_loss);
  for (const char* init :
       {"kaiming", "gaussian", "orthogonal", "olora", "pissa", "pissa_niter_2", "lora_ga"}) {
    CHECK(run({{"init", init}, {"rank", "2"}}).finetune_loss != plain.finetune_loss);
  }
}

TEST_CASE("the study's check notices a weight that its adapter does not explain", "[study]") {
  lora::PhiloxGenerator generator(1);
  lora::LoRALinear<float> layer(lora::Linear<float>(9, 7, generator), {.r = 2, .lora_alpha = 2},
                                generator);
  generator.normal(layer.adapter().lora_B.value.span(), 0, 1);
  CHECK(is_adapted_weight(layer, 1));
  CHECK_FALSE(is_adapted_weight(layer, 1.0001));
}

TEST_CASE("a sweep is the study with each value, from one pretrained network", "[sweep]") {
  const lora::Mnist data = pattern_set();
  Study pretrained(short_settings(), data, true);
  pretrained.pretrain();
  pretrained.evaluate_pretrained();
  Sweep sweep("rank", {"1", "3"});
  sweep.run(pretrained);
  for (const Sweep::Row& row : sweep.rows()) {
    INFO("rank " << row.value);
    Study alone(with_value(short_settings(), "rank", row.value), data, true);
    alone.pretrain();
    alone.evaluate_pretrained();
    alone.adapt();
    alone.finetune();
    alone.evaluate_lora_on();
    REQUIRE(row.runs.size() == 1);
    CHECK(row.runs[0].finetune_loss == alone.result().finetune_loss);
    CHECK(row.runs[0].lora_on.predictions == alone.result().lora_on.predictions);
    CHECK(row.runs[0].lora_parameters == alone.result().lora_parameters);
  }
  CHECK(lora::lora_layers(pretrained.net()).empty());
}

TEST_CASE("a saved study with initial values of its own is loaded as it was", "[study][variant]") {
  const TemporaryFolder folder;
  const lora::Mnist data = pattern_set();
  Settings settings = with_value(with_value(short_settings(), "init", "pissa"), "rank", "2");
  Study study(settings, data, true);
  study.pretrain();
  study.evaluate_pretrained();
  study.adapt();
  study.finetune();
  study.save(folder.path());
  study.evaluate_lora_on();

  Study loaded(settings, data, true);
  loaded.load_pretrained(folder.path());
  loaded.adapt();
  loaded.load_adapter(folder.path());
  loaded.evaluate_lora_on();
  CHECK(loaded.result().lora_on.predictions == study.result().lora_on.predictions);
  CHECK(loaded.check().size() == 3);

  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"use-dora", "1"}, {"use-rslora", "1"}, {"init", "normal"}, {"replay", "0.1"}}) {
    Settings other = with_value(settings, "init", "kaiming");
    Study refused(with_value(other, key, value), data, true);
    refused.adapt();
    CHECK_THROWS_WITH(refused.load_adapter(folder.path()), contains("settings of this run"));
  }
}

TEST_CASE("the sweep's table has a line a value, with means and deviations", "[sweep][tables]") {
  const std::string table = sweep_table(sample_sweep());
  // 20 and 22 errors of 1000 before; 40 and 10 after, or 40 and 11.
  CHECK_THAT(table, contains("  pretrained                      0.9790 ± 0.0014         21 ± 1"));
  CHECK_THAT(table, contains("  1               8,394     0.50  0.9500 ± 0.0000         10 ± 0"
                             "        40 ± 0\n"));
  CHECK_THAT(table, contains("0.9490 ± 0.0000         11 ± 0        40 ± 0\n"));
  CHECK_THAT(table, contains("over 2 seeds"));
  Sweep one("replay", {"0"});
  one.add(0, sample_sweep().rows()[0].runs[0]);
  CHECK_THAT(sweep_table(one), !contains("±"));
}

TEST_CASE("the sweep's JSON, page and chart hold its numbers", "[sweep][json][report]") {
  const Sweep sweep = sample_sweep();
  const auto json = to_json(sweep);
  CHECK(json["sweep"] == "rank");
  CHECK(json["values"].size() == 2);
  CHECK(json["values"][1]["lora_on"]["target_errors"]["mean"] == 11);
  CHECK(json["values"][1]["runs"].size() == 2);
  CHECK(json["values"][1]["runs"][0]["lora_on"]["errors_by_digit"][0] == 40);

  const std::string svg = sweep_chart(sweep);
  CHECK(count_of(svg, "<rect class=\"after\"") == 2);
  CHECK(count_of(svg, "<rect class=\"other\"") == 2);
  CHECK(count_of(svg, " level\"") == 2);
  CHECK_THAT(svg, contains(">40</text>") && !contains("nan"));

  const std::string html = report_html(sweep, Settings{});
  CHECK(count_of(html, "<svg") == 1);
  CHECK_THAT(html, contains("0.9790 ± 0.0014") && contains("0 to 1") && contains("--rank"));

  const Picture picture = sweep_picture(sweep);
  CHECK(picture.rgb.size() == 3 * static_cast<std::size_t>(picture.width * picture.height));
  const std::vector<std::uint8_t> png = encode_png(picture);
  CHECK(std::string(png.begin() + 1, png.begin() + 4) == "PNG");
}

TEST_CASE("flags of a sweep are read as on the command line", "[options]") {
  Settings settings;
  CHECK(with_value(settings, "use-dora", "1").use_dora);
  CHECK_FALSE(with_value(with_value(settings, "use-dora", "1"), "use-dora", "0").use_dora);
  CHECK(with_value(settings, "finetune-lr", "3e-4").finetune_lr == 3e-4);
  CHECK_THROWS_WITH(with_value(settings, "digits", "1"),
                    contains("\"digits\" cannot be varied; there are: rank, alpha"));
  CHECK_THROWS_WITH(with_value(settings, "rank", "0"), contains("--rank"));
  CHECK_THROWS_WITH(with_value(settings, "replay", "1"), contains("not at least 0 and below 1"));
}
