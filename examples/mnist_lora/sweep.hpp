// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "mnist_lora/spread.hpp"
#include "mnist_lora/study.hpp"

namespace mnist_lora {

/// One setting of the adapters or of their training in several values: what is pretrained once a
/// seed is adapted, fine-tuned and tested with each. A run is, to the bit, what the study does with
/// that flag and that seed, since each begins with the same state of the random generator.
class Sweep {
 public:
  /// `key` is the name of a flag without its dashes, `values` are what could be given to it.
  Sweep(std::string key, const std::vector<std::string>& values);

  struct Row {
    std::string value;
    std::vector<StudyResult> runs;  ///< one a seed
  };

  /// Runs every value. `pretrained` has been trained and evaluated, and is not changed.
  void run(const Study& pretrained);

  const std::string& key() const { return key_; }
  const std::vector<Row>& rows() const { return rows_; }

  /// Adds what has been found elsewhere.
  void add(std::size_t row, StudyResult result) { rows_[row].runs.push_back(std::move(result)); }

 private:
  std::string key_;
  std::vector<Row> rows_;
};

/// Errors over the runs of a row: before, on the pretrained network, or after, with LoRA on.
struct SweepNumbers {
  Spread accuracy, target_errors, other_errors;
};
SweepNumbers numbers_before(const Sweep::Row& row);
SweepNumbers numbers_after(const Sweep::Row& row);

/// A line a value below one of the pretrained network: trainable parameters, seconds of
/// fine-tuning, accuracy, errors on the target and on the other digits; over several seeds mean ±
/// standard deviation.
std::string sweep_table(const Sweep& sweep);

/// The cells of sweep_table(), its header first.
std::vector<std::vector<std::string>> sweep_cells(const Sweep& sweep);

}  // namespace mnist_lora
