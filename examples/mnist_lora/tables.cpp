// SPDX-License-Identifier: MIT
#include "mnist_lora/tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <numeric>

#include <lora/nn/adapt.hpp>

namespace mnist_lora {

namespace {

__attribute__((format(printf, 1, 2))) std::string format(const char* text, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, text);
  std::vsnprintf(line, sizeof line, text, arguments);
  va_end(arguments);
  return line;
}

bool is_target(const Settings& settings, int digit) {
  return std::find(settings.digits.begin(), settings.digits.end(), digit) != settings.digits.end();
}

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

}  // namespace

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

std::pair<double, double> Evaluation::interval() const {
  if (count() == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const double n = count();
  const double p = accuracy();
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {centre - half, centre + half};
}

std::string layer_table(const StudyResult& result, bool adapted) {
  std::string text;
  for (const LayerShape& layer : result.layers) {
    text += format("  %-8s  W (%lld, %lld)  b (%lld,)", layer.name.c_str(),
                   static_cast<long long>(layer.out), static_cast<long long>(layer.in),
                   static_cast<long long>(layer.out));
    if (adapted) {
      text += format("  +  lora_A (%lld, %lld)  lora_B (%lld, %lld)",
                     static_cast<long long>(layer.rank), static_cast<long long>(layer.in),
                     static_cast<long long>(layer.out), static_cast<long long>(layer.rank));
    }
    text += "\n";
  }
  text += "  parameters: " + lora::with_thousands_separators(result.base_parameters);
  if (adapted) {
    text += format(", added by LoRA: %s (%.3f %%)",
                   lora::with_thousands_separators(result.lora_parameters).c_str(),
                   100.0 * static_cast<double>(result.lora_parameters) /
                       static_cast<double>(result.base_parameters));
  }
  return text + "\n";
}

std::string evaluation_text(const Evaluation& evaluation) {
  const auto [low, high] = evaluation.interval();
  std::string text =
      format("  accuracy %.4f (95 %% interval %.4f to %.4f), %d of %d wrong\n ",
             evaluation.accuracy(), low, high, evaluation.errors(), evaluation.count());
  for (std::size_t digit = 0; digit < 10; ++digit) {
    text += format(" %zu: %d%s", digit, evaluation.wrong[digit], digit < 9 ? "," : "\n");
  }
  return text;
}

std::string comparison_table(const StudyResult& result) {
  std::string text =
      "  digit          images   pretrained   LoRA on   change   LoRA off\n"
      "  ----------------------------------------------------------------\n";
  const auto row = [&](const std::string& name, int images, int before, int on, int off) {
    text += format("  %-13s  %6d   %10d   %7d   %+6d   %8d\n", name.c_str(), images, before, on,
                   on - before, off);
  };
  std::vector<int> others;
  for (int digit = 0; digit < 10; ++digit) {
    const auto i = static_cast<std::size_t>(digit);
    const bool target = is_target(result.settings, digit);
    if (!target) others.push_back(digit);
    row(std::to_string(digit) + (target ? "  target" : ""), result.pretrained.total[i],
        result.pretrained.wrong[i], result.lora_on.wrong[i], result.lora_off.wrong[i]);
  }
  text += "  ----------------------------------------------------------------\n";
  const auto sum_row = [&](const std::string& name, const std::vector<int>& digits) {
    int images = 0;
    for (const int digit : digits)
      images += result.pretrained.total[static_cast<std::size_t>(digit)];
    row(name, images, result.pretrained.errors_on(digits), result.lora_on.errors_on(digits),
        result.lora_off.errors_on(digits));
  };
  sum_row("target digits", result.settings.digits);
  sum_row("other digits", others);
  row("all", result.pretrained.count(), result.pretrained.errors(), result.lora_on.errors(),
      result.lora_off.errors());
  const auto accuracy = [&](const char* name, const Evaluation& e) {
    const auto [low, high] = e.interval();
    text += format("  accuracy, %-10s  %.4f   (95 %% interval %.4f to %.4f)\n", name, e.accuracy(),
                   low, high);
  };
  accuracy("pretrained", result.pretrained);
  accuracy("LoRA on", result.lora_on);
  accuracy("LoRA off", result.lora_off);
  return text;
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
        "In all the adapter cost %d errors: it learned its digits and forgot some of "
        "the rest.",
        net);
  } else if (net < 0) {
    text += format(
        "In all that is %d errors fewer, which is luck of this seed: over ten seeds the "
        "others lose more than the targets gain.",
        -net);
  } else {
    text +=
        "In all nothing was won or lost; over ten seeds the others lose more than the targets "
        "gain.";
  }
  return text;
}

std::string seeds_table(const std::vector<StudyResult>& results) {
  const std::vector<int>& targets = results.front().settings.digits;
  const auto target_errors = [&](const Evaluation& e) { return double(e.errors_on(targets)); };
  const auto other_errors = [&](const Evaluation& e) {
    return double(e.errors() - e.errors_on(targets));
  };
  std::string text =
      format("  %-28s  %-22s  %s\n", "", format("%zu seeds here", results.size()).c_str(),
             "10 seeds of PyTorch 1.13");
  const auto row = [&](const char* name, const Spread& s, int digits, const char* torch) {
    text += format("  %-28s  %-22s  %s\n", name,
                   format("%.*f ± %.*f", digits, s.mean, digits, s.deviation).c_str(), torch);
  };
  row("accuracy, pretrained",
      spread(results, [](const StudyResult& r) { return r.pretrained.accuracy(); }), 4,
      "0.9561 ± 0.0064");
  row("accuracy, LoRA on",
      spread(results, [](const StudyResult& r) { return r.lora_on.accuracy(); }), 4,
      "0.9434 ± 0.0081");
  row("target errors, pretrained",
      spread(results, [&](const StudyResult& r) { return target_errors(r.pretrained); }), 0,
      "190 ± 49");
  row("target errors, LoRA on",
      spread(results, [&](const StudyResult& r) { return target_errors(r.lora_on); }), 0,
      "114 ± 24");
  row("other errors, pretrained",
      spread(results, [&](const StudyResult& r) { return other_errors(r.pretrained); }), 0,
      "248 ± 35");
  row("other errors, LoRA on",
      spread(results, [&](const StudyResult& r) { return other_errors(r.lora_on); }), 0,
      "453 ± 87");
  return text + "  (mean ± standard deviation; PyTorch ran MNIST with the default settings)\n";
}

}  // namespace mnist_lora
