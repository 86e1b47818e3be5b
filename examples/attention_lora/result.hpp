// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// What a run is asked to do and what it finds: plain values that the tables, the JSON and the page
// are made from. Losses are nats a character.

namespace attention_lora {

struct Settings {
  std::string device = "auto";
  int threads = 1;
  std::uint64_t seed = 0;
  int dim = 64;
  int layers = 2;
  int heads = 4;
  int context = 64;
  int batch = 16;
  int steps = 2000;
  double lr = 3e-3;
  int rank = 4;
  double alpha = 8;
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};
  int adapt_steps = 500;
  double adapt_lr = 1e-2;
  int sample = 240;
  double temperature = 0.7;

  bool operator==(const Settings&) const = default;
};

/// On what was held out of the two texts.
struct Losses {
  double fables = 0, logbook = 0;
};

/// One training.
struct Phase {
  struct Point {
    int step;
    Losses losses;  ///< on a part of what was held out
  };

  std::vector<double> loss;  ///< of every batch
  std::vector<Point> curve;
  std::int64_t trainable = 0;
  double seconds = 0;  ///< of the steps alone

  /// What AdamW keeps of every parameter that learns: two numbers.
  std::int64_t optimizer_bytes() const {
    return trainable * static_cast<std::int64_t>(2 * sizeof(float));
  }
};

/// What a model is in the end, and what it writes.
struct Outcome {
  Losses losses;
  std::string sample;
};

struct StudyResult {
  Settings settings;
  std::int64_t base_parameters = 0;
  std::int64_t lora_parameters = 0;
  std::vector<std::string> adapted;                ///< paths of the layers with adapters
  Phase pretraining, adaptation, full_finetuning;  ///< without steps where the weights were loaded
  Outcome base, lora_on, lora_off, full;
  double total_seconds = 0;
};

/// What happened, in plain words: what either way of adapting learned, forgot and cost.
std::string verdict(const StudyResult& result);

}  // namespace attention_lora
