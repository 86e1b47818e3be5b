// SPDX-License-Identifier: MIT
#include "mnist_lora/report.hpp"

#include <cstdint>

#include <lora/nn/parameter_count.hpp>

#include "mnist_lora/charts.hpp"
#include "mnist_lora/variant.hpp"
#include "support/chart.hpp"
#include "support/format.hpp"
#include "support/page.hpp"

namespace mnist_lora {

using namespace example_support;

namespace {

std::string base64(const std::vector<std::uint8_t>& bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const unsigned word = unsigned{bytes[i]} << 16 | (left > 1 ? unsigned{bytes[i + 1]} << 8 : 0) |
                          (left > 2 ? unsigned{bytes[i + 2]} : 0);
    text += kLetters[word >> 18];
    text += kLetters[word >> 12 & 63];
    text += left > 1 ? kLetters[word >> 6 & 63] : '=';
    text += left > 2 ? kLetters[word & 63] : '=';
  }
  return text;
}

std::string error_table(const StudyResult& result) {
  std::string html =
      "<table>\n" + row({"", "images", "pretrained", "LoRA on", "change", "LoRA off"}, "th");
  const auto add = [&](const std::string& name, const std::vector<int>& digits, const char* css) {
    const int before = result.pretrained.errors_on(digits);
    const int on = result.lora_on.errors_on(digits);
    html += row({name, std::to_string(result.pretrained.images_of(digits)), std::to_string(before),
                 std::to_string(on), format("%+d", on - before),
                 std::to_string(result.lora_off.errors_on(digits))},
                "td", css);
  };
  for (int digit = 0; digit < 10; ++digit) {
    const bool target = is_target(result.settings, digit);
    add(std::to_string(digit) + (target ? " (target)" : ""), {digit}, "");
  }
  add("target digits", result.settings.digits, "sum");
  add("other digits", other_digits(result.settings), "sum");
  const auto accuracy = [](const Evaluation& evaluation) {
    const auto [low, high] = evaluation.interval();
    return format("%.4f (%.4f to %.4f)", evaluation.accuracy(), low, high);
  };
  return html + "</table>\n<p class=\"soft\">Accuracy with its 95 % interval: pretrained " +
         accuracy(result.pretrained) + ", LoRA on " + accuracy(result.lora_on) + ", LoRA off " +
         accuracy(result.lora_off) + ".</p>\n";
}

std::string figure(const Picture& picture) {
  return "<figure><img alt=\"" + escaped(picture.caption) + "\" src=\"data:image/png;base64," +
         base64(encode_png(picture)) + "\"><figcaption>" + escaped(picture.caption) +
         "</figcaption></figure>\n";
}

std::string settings_rows(const Settings& s, const std::string& data_name) {
  std::string digits;
  for (const int digit : s.digits) digits += (digits.empty() ? "" : ", ") + std::to_string(digit);
  std::string html;
  html += row({"data", data_name});
  html += row({"device", s.device});
  html += row({"epochs, batch size, learning rate", format("%d, %d, %g", s.epochs, s.batch, s.lr)});
  html += row({"adapters", variant_text(s)});
  html += row({"target digits", digits});
  html += row({"fine-tuning", training_text(s)});
  return html;
}

std::string settings_table(const StudyResult& result) {
  std::string html = "<table>\n" + row({"seed", std::to_string(result.settings.seed)}) +
                     settings_rows(result.settings, result.data_name);
  html += row({"parameters", lora::with_thousands_separators(result.base_parameters)});
  html += row({"added by LoRA", lora::with_thousands_separators(result.lora_parameters)});
  html += row({"seconds: pretraining, fine-tuning, all",
               format("%.1f, %.2f, %.1f", result.pretrain_seconds, result.finetune_seconds,
                      result.total_seconds)});
  return html + "</table>\n";
}

}  // namespace

std::string report_html(const StudyResult& result, const std::vector<Picture>& pictures) {
  std::string html =
      "<p class=\"soft\">" + escaped(result.data_name) + ", seed " +
      std::to_string(result.settings.seed) + ": a network of " +
      lora::with_thousands_separators(result.base_parameters) +
      " parameters is pretrained and frozen; adapters of " +
      lora::with_thousands_separators(result.lora_parameters) +
      " parameters then learn the target " +
      (result.settings.replay > 0
           ? format("digits, with a share of %g of other digits.</p>\n", result.settings.replay)
           : "digits alone.</p>\n");
  html += "<p class=\"verdict\">" + escaped(verdict(result)) + "</p>\n";
  html += "<h2>Errors on the test images<span class=\"soft\">" + key("before", "pretrained") +
          key("after", "LoRA on") + "</span></h2>\n";
  html += error_chart(result) + error_table(result);
  if (!result.pretrain_loss.empty()) {
    html += "<h2>Loss of pretraining</h2>\n" + loss_chart(result.pretrain_loss);
  }
  if (!result.finetune_loss.empty()) {
    html += "<h2>Loss of fine-tuning</h2>\n" + loss_chart(result.finetune_loss);
  }
  html += "<h2>Pictures</h2>\n<div>\n";
  std::string updates;
  for (const Picture& picture : pictures) {
    (picture.name.starts_with("update") ? updates : html) += figure(picture);
  }
  html += "</div>\n<h2>What the adapters add to the weights</h2>\n<div class=\"updates\">\n" +
          updates + "</div>\n<h2>Settings and counts</h2>\n" + settings_table(result);
  return page("LoRA on some digits", html);
}

std::string report_html(const Sweep& sweep, const Settings& settings) {
  const StudyResult& any = sweep.rows().front().runs.front();
  const std::size_t seeds = sweep.rows().front().runs.size();
  std::string html =
      "<p class=\"soft\">One pretrained network a seed, adapted with each value of --" +
      escaped(sweep.key()) + ".</p>\n<h2>Errors on the test images<span class=\"soft\">" +
      key("after", "target digits") + key("other", "other digits") +
      ", dashed: pretrained</span></h2>\n" + sweep_chart(sweep) + "<table>\n";
  const auto cells = sweep_cells(sweep);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    html += row(cells[i], i == 0 ? "th" : "td", i == 1 ? "sum" : "");
  }
  html += "</table>\n";
  if (seeds > 1) html += "<p class=\"soft\">Mean ± standard deviation over the seeds.</p>\n";
  html += "<h2>Settings</h2>\n<table>\n" +
          row({"seeds",
               seeds > 1 ? format("0 to %zu", seeds - 1) : std::to_string(any.settings.seed)}) +
          settings_rows(settings, any.data_name) + "</table>\n";
  return page("LoRA on some digits: " + sweep.key(), html);
}

}  // namespace mnist_lora
