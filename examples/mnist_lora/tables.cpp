// SPDX-License-Identifier: MIT
#include "mnist_lora/tables.hpp"

#include <lora/nn/parameter_count.hpp>

#include "mnist_lora/spread.hpp"
#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;

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
  const auto digits_row = [&](const std::string& name, const std::vector<int>& digits) {
    row(name, result.pretrained.images_of(digits), result.pretrained.errors_on(digits),
        result.lora_on.errors_on(digits), result.lora_off.errors_on(digits));
  };
  for (int digit = 0; digit < 10; ++digit) {
    digits_row(std::to_string(digit) + (is_target(result.settings, digit) ? "  target" : ""),
               {digit});
  }
  text += "  ----------------------------------------------------------------\n";
  digits_row("target digits", result.settings.digits);
  digits_row("other digits", other_digits(result.settings));
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
