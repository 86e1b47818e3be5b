// SPDX-License-Identifier: MIT
#include "mnist_lora/result.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;

int Evaluation::errors() const { return std::accumulate(wrong.begin(), wrong.end(), 0); }

int Evaluation::count() const { return std::accumulate(total.begin(), total.end(), 0); }

double Evaluation::accuracy() const {
  return count() ? 1.0 - static_cast<double>(errors()) / count() : 0.0;
}

int Evaluation::errors_on(const std::vector<int>& digits) const {
  int sum = 0;
  for (const int digit : digits) sum += wrong[static_cast<std::size_t>(digit)];
  return sum;
}

int Evaluation::images_of(const std::vector<int>& digits) const {
  int sum = 0;
  for (const int digit : digits) sum += total[static_cast<std::size_t>(digit)];
  return sum;
}

std::pair<double, double> Evaluation::interval() const {
  if (count() == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const double n = count();
  const double p = accuracy();
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {centre - half, centre + half};
}

bool is_target(const Settings& settings, int digit) {
  return std::find(settings.digits.begin(), settings.digits.end(), digit) != settings.digits.end();
}

std::vector<int> other_digits(const Settings& settings) {
  std::vector<int> others;
  for (int digit = 0; digit < 10; ++digit) {
    if (!is_target(settings, digit)) others.push_back(digit);
  }
  return others;
}

// Whether ten seeds of this have been looked at: the study as it is without flags.
static bool is_plain_study(const Settings& settings) {
  Settings plain;
  plain.data = settings.data;
  plain.device = settings.device;
  plain.threads = settings.threads;
  plain.seed = settings.seed;
  return settings == plain;
}

std::string verdict(const StudyResult& result) {
  const std::vector<int>& targets = result.settings.digits;
  const int target_before = result.pretrained.errors_on(targets);
  const int target_after = result.lora_on.errors_on(targets);
  const int other_before = result.pretrained.errors() - target_before;
  const int other_after = result.lora_on.errors() - target_after;
  const auto change = [](const char* who, int before, int after) {
    if (after == before) return format("%s kept their %d errors", who, before);
    return format("%s went from %d to %d errors", who, before, after);
  };
  std::string text = change("The target digits", target_before, target_after) + "; " +
                     change("the others", other_before, other_after) + ". ";
  const int net = result.lora_on.errors() - result.pretrained.errors();
  if (net > 0) {
    text += format(
        "In all the adapter cost %d errors: it learned its digits and forgot some of the "
        "rest.",
        net);
  } else if (net < 0) {
    text += format("In all that is %d errors fewer.", -net);
  } else {
    text += "In all nothing was won or lost.";
  }
  if (net <= 0 && result.data_name == "MNIST" && is_plain_study(result.settings)) {
    text +=
        " That is luck of this seed: over ten seeds the others lose more than the targets gain.";
  }
  return text;
}

}  // namespace mnist_lora
