// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// What a run of the study is asked to do and what it finds: plain values that the tables, the JSON
// and the page are made from.

namespace mnist_lora {

struct Settings {
  std::string data;
  std::string device = "auto";
  int threads = 1;
  std::uint64_t seed = 0;
  int epochs = 1;
  int batch = 10;
  double lr = 1e-3;
  int rank = 1;
  double alpha = 1;
  bool use_rslora = false;
  bool use_dora = false;
  std::string init = "normal";
  double lora_dropout = 0;
  std::vector<int> digits = {3, 6, 8, 9};
  int finetune_batches = 100;
  double finetune_lr = 0;  ///< 0: lr
  double loraplus_lr_ratio = 1;
  double replay = 0;             ///< the share of other digits in what fine-tuning draws from
  std::int64_t limit_train = 0;  ///< 0: all images

  bool operator==(const Settings&) const = default;
};

/// Errors on the test set, digit by digit.
struct Evaluation {
  std::array<int, 10> wrong{};
  std::array<int, 10> total{};
  std::vector<std::int32_t> predictions;  ///< of every test image, in the set's order

  int errors() const;
  int count() const;
  double accuracy() const;

  /// Errors on the given digits.
  int errors_on(const std::vector<int>& digits) const;

  /// How many images show the given digits.
  int images_of(const std::vector<int>& digits) const;

  /// The 95 % Wilson score interval of the accuracy: Wilson, 1927, J. Am. Stat. Assoc. 22, p. 209.
  std::pair<double, double> interval() const;
};

struct LayerShape {
  std::string name;
  std::int64_t in, out, rank;
};

struct StudyResult {
  Settings settings;
  std::string data_name;
  std::vector<LayerShape> layers;
  std::int64_t base_parameters = 0;
  std::int64_t lora_parameters = 0;
  std::vector<std::int64_t> pretrain_first_batch, finetune_first_batch;  ///< indices of the samples
  std::vector<double> pretrain_loss, finetune_loss;                      ///< of every batch
  Evaluation pretrained, lora_on, lora_off;
  double pretrain_seconds = 0, finetune_seconds = 0, total_seconds = 0;
};

bool is_target(const Settings& settings, int digit);

/// The digits that are not targets.
std::vector<int> other_digits(const Settings& settings);

/// What happened, in plain words: what the target digits gained and what the others paid.
std::string verdict(const StudyResult& result);

}  // namespace mnist_lora
