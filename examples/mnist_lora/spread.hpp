// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// The mean of several runs and the standard deviation of one, 0 for a single run.
struct Spread {
  double mean, deviation;
};

template <class Value>
Spread spread(const std::vector<StudyResult>& results, Value value) {
  const auto n = static_cast<double>(results.size());
  double sum = 0, squares = 0;
  for (const StudyResult& r : results) sum += value(r);
  const double mean = sum / n;
  for (const StudyResult& r : results) squares += (value(r) - mean) * (value(r) - mean);
  return {mean, n > 1 ? std::sqrt(squares / (n - 1)) : 0};
}

}  // namespace mnist_lora
