// SPDX-License-Identifier: MIT
#include "mnist_lora/pictures.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace mnist_lora {

namespace {

constexpr Color kPaper{24, 26, 31};
constexpr Color kLabel{210, 214, 222};
constexpr Color kWrong{255, 96, 84};

// From blue through white to red, for -1 to 1.
Color diverging(double value) {
  const double depth = std::sqrt(std::abs(value));
  const std::array<double, 3> end =
      value < 0 ? std::array<double, 3>{33, 102, 172} : std::array<double, 3>{178, 24, 43};
  const auto mix = [depth](double to) {
    return static_cast<std::uint8_t>(247 + depth * (to - 247));
  };
  return {mix(end[0]), mix(end[1]), mix(end[2])};
}

}  // namespace

Picture misclassified_picture(const std::string& name, const std::string& caption,
                              const lora::LabeledImages& test, const Evaluation& evaluation) {
  constexpr int kColumns = 14;
  constexpr int kScale = 2;
  constexpr int kSide = 28 * kScale;
  constexpr int kCell = kSide + 4;
  constexpr int kMargin = 32;
  Picture picture = blank(name, caption, kMargin + kColumns * kCell, 10 * kCell, kPaper);
  for (int digit = 0; digit < 10; ++digit) {
    write_text(picture, std::to_string(digit), 8, digit * kCell + 18, 4, kLabel);
  }
  std::array<int, 10> shown{};
  for (lora::index_t i = 0; i < test.size(); ++i) {
    const int label = test.labels[i];
    const int predicted = evaluation.predictions[static_cast<std::size_t>(i)];
    int& column = shown[static_cast<std::size_t>(label)];
    if (predicted == label || column == kColumns) continue;
    const int left = kMargin + column * kCell;
    const int top = label * kCell + 2;
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const std::uint8_t gray = test.images(i, y / kScale * 28 + x / kScale);
        set_pixel(picture, left + x, top + y, {gray, gray, gray});
      }
    }
    write_text(picture, std::to_string(predicted), left + kSide - 10, top + 3, 3, kWrong);
    ++column;
  }
  return picture;
}

Picture update_picture(const std::string& layer_name, const lora::LoRALinear<float>& layer) {
  constexpr lora::index_t kMost = 400;
  constexpr lora::index_t kLeast = 60;
  const lora::Tensor<float> before = layer.base().weight.value.to(lora::Device::cpu);
  lora::Tensor<float> update = layer.effective_weight().to(lora::Device::cpu);
  for (lora::index_t i = 0; i < update.numel(); ++i) update[i] -= before[i];
  const lora::index_t rows = update.dim(0);
  const lora::index_t cols = update.dim(1);

  float largest = 0;
  for (const float element : update.span()) largest = std::max(largest, std::abs(element));
  char caption[160];
  std::snprintf(caption, sizeof caption,
                "%s: what is added to W, (%lld, %lld), largest element %.3g in magnitude",
                layer_name.c_str(), static_cast<long long>(rows), static_cast<long long>(cols),
                static_cast<double>(largest));
  const auto height = static_cast<int>(std::clamp(rows, kLeast, kMost));
  const auto width = static_cast<int>(std::clamp(cols, kLeast, kMost));
  Picture picture = blank("update_" + layer_name, caption, width, height, kPaper);
  for (int y = 0; y < height; ++y) {
    const lora::index_t row_begin = rows * y / height;
    const lora::index_t row_end = std::max(row_begin + 1, rows * (y + 1) / height);
    for (int x = 0; x < width; ++x) {
      const lora::index_t col_begin = cols * x / width;
      const lora::index_t col_end = std::max(col_begin + 1, cols * (x + 1) / width);
      float shown = 0;
      for (lora::index_t o = row_begin; o < row_end; ++o) {
        for (lora::index_t k = col_begin; k < col_end; ++k) {
          if (std::abs(update(o, k)) > std::abs(shown)) shown = update(o, k);
        }
      }
      set_pixel(picture, x, y, diverging(largest > 0 ? double{shown} / double{largest} : 0.0));
    }
  }
  return picture;
}

}  // namespace mnist_lora
